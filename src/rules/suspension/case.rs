//! What a suspension rests on: the first messages of the kind, and what each signal said.

use crate::{
    rules::spam::{Evidence, Signal},
    types::{CaseId, SubjectId, Timestamp},
};

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
    pub signals: Vec<(Signal, f32)>,
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

/// The first messages since something speaks against a sender; they become a [`Case`] when it is suspended.
#[derive(Debug, Clone, PartialEq, Default, serde::Serialize, serde::Deserialize)]
pub struct Samples(Vec<Sample>);

impl Samples {
    /// Takes note of a message; one after which next to nothing speaks against the sender ends the matter.
    pub fn note(&mut self, points: f32, sample: impl FnOnce() -> Sample) {
        if points < SAMPLE_POINTS_MIN {
            self.0.clear();
        } else if self.0.len() < SAMPLES_MAX {
            self.0.push(sample().shortened());
        }
    }

    /// How many octets they take beside the list itself.
    #[must_use]
    pub fn size_bytes(&self) -> usize {
        let texts = |sample: &Sample| {
            let reasons = sample.reasons.iter().map(|reason| reason.len() + size_of::<String>());
            sample.client.len() + sample.from.len() + sample.subject.len() + reasons.sum::<usize>()
        };
        self.0.iter().map(|sample| size_of::<Sample>() + texts(sample)).sum()
    }

    /// The messages so far.
    #[must_use]
    pub fn kept(&self) -> &[Sample] {
        &self.0
    }
}

impl Case {
    /// The case of a sender who is suspended now.
    #[must_use]
    pub fn open(
        id: CaseId,
        subject: SubjectId,
        evidence: &Evidence,
        samples: &Samples,
        now: Timestamp,
    ) -> Self {
        Self {
            id,
            subject,
            opened: now,
            points: evidence.total(),
            signals: evidence.by_weight(),
            samples: samples.kept().to_vec(),
        }
    }
}

impl Sample {
    /// Shortens what the sender wrote.
    #[must_use]
    pub fn shortened(mut self) -> Self {
        for text in [&mut self.from, &mut self.subject] {
            text.truncate(text.floor_char_boundary(TEXT_BYTES_MAX));
        }
        self.reasons.truncate(REASONS_MAX);
        self
    }
}

/// So many messages of a case are kept.
pub const SAMPLES_MAX: usize = 10;
const TEXT_BYTES_MAX: usize = 200;
const REASONS_MAX: usize = 16;
/// With fewer points a message is none that a case begins with.
const SAMPLE_POINTS_MIN: f32 = 1.0;
