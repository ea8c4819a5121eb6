//! Whom an account has written to, of late: the newest few hundred recipients, two octets each.
//!
//! A recipient is known by 16 bits of its keyed hash, so one in 65,536 ÷ [`KNOWN_MAX`] strangers is taken for somebody known; that
//! is the price of keeping nobody's address.

use std::collections::VecDeque;

/// The recipients an account has written to, the newest last.
#[derive(Debug, Clone, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Known(VecDeque<u16>);

impl Known {
    /// True if the account has written to this recipient.
    #[must_use]
    pub fn has(&self, recipient: u32) -> bool {
        let short = short_of(recipient);
        let (front, back) = self.0.as_slices();
        front.contains(&short) || back.contains(&short)
    }

    /// Remembers a recipient; the one that was new the longest ago is forgotten.
    pub fn learn(&mut self, recipient: u32) {
        if self.has(recipient) {
            return;
        }
        if self.0.len() >= KNOWN_MAX {
            self.0.pop_front();
        }
        self.0.push_back(short_of(recipient));
    }

    /// How many are known.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// True if nobody is known.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// The upper half of the hash.
fn short_of(recipient: u32) -> u16 {
    u16::try_from(recipient >> 16).unwrap_or(u16::MAX)
}

/// So many recipients of an account are remembered.
pub const KNOWN_MAX: usize = 256;
