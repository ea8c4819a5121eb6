//! What the whole gate remembers beside its accounts: texts that went round.

use super::{
    Settings,
    attempt::Attempt,
    prints::{Prints, Spread},
    profile::Profile,
};

/// The memory that all accounts share.
#[derive(Debug, Clone, PartialEq, Default, serde::Serialize, serde::Deserialize)]
pub struct Shared {
    prints: Prints,
}

impl Shared {
    /// How far the text of an attempt has spread; none if it is too short to tell.
    #[must_use]
    pub fn spread(
        &self,
        attempt: &Attempt<'_>,
        account: u32,
        settings: &Settings,
    ) -> Option<Spread> {
        let print = attempt.text.print?;
        Some(self.prints.spread(print, account, attempt.at, settings.print_distance_max))
    }

    /// Takes note of a text that went out to somebody new, is unlike what the account usually sends, and against whose sender
    /// something speaks already.
    pub fn note(
        &mut self,
        profile: &Profile,
        attempt: &Attempt<'_>,
        account: u32,
        settings: &Settings,
    ) {
        let Some(print) = attempt.text.print else { return };
        let is_suspect = profile.evidence.total() >= SUSPECT_POINTS;
        if is_suspect && profile.count_new(attempt) > 0 && !profile.style.is_own(print, attempt.at)
        {
            self.prints.note(print, account, attempt.at, settings.print_distance_max);
        }
    }

    /// An account was suspended: its last texts are spam.
    pub fn condemn(&mut self, profile: &Profile, attempt: &Attempt<'_>, settings: &Settings) {
        let last = attempt.text.print.filter(|&print| !profile.style.is_own(print, attempt.at));
        for print in profile.prints.iter().copied().chain(last) {
            self.prints.mark_spam(print, attempt.at, settings.print_distance_max);
        }
    }
}

/// A text counts as going round only where as much speaks against its sender.
const SUSPECT_POINTS: f32 = 1.0;
