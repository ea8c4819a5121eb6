//! What a suspension rests on: the first messages of the kind, and what each signal said.

use crate::types::{CaseId, SubjectId, Timestamp};

/// The evidence of one suspension; it is kept with the suspension and shown with it.
#[derive(Debug, Clone, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct Case {
    /// Its id.
    pub id: CaseId,
    /// Who was suspended.
    pub subject: SubjectId,
    /// When.
    pub opened: Timestamp,
    /// All points.
    pub points: f32,
    /// The points of each signal that had any, the heaviest first.
    pub signals: Vec<(super::super::spam::Signal, f32)>,
    /// The first messages, at most [`SAMPLES_MAX`].
    pub samples: Vec<Sample>,
}

/// One message of a case.
#[derive(Debug, Clone, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct Sample {
    /// When.
    pub at: Timestamp,
    /// The client's address.
    pub client: String,
    /// From, shortened.
    pub from: String,
    /// The subject, shortened.
    pub subject: String,
    /// How many recipients.
    pub recipients: u32,
    /// The account's points after it.
    pub points: f32,
    /// Why, in words.
    pub reasons: Vec<String>,
}

impl Sample {
    /// Shortens what the sender wrote.
    #[must_use]
    pub fn shortened(mut self) -> Self {
        for text in [&mut self.from, &mut self.subject] {
            text.truncate(text.floor_char_boundary(TEXT_BYTES_MAX));
        }
        self
    }
}

/// So many messages of a case are kept.
pub const SAMPLES_MAX: usize = 10;
const TEXT_BYTES_MAX: usize = 200;
