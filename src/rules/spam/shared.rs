//! What the whole gate remembers beside its accounts: texts that went round, and where they led.

use super::{
    Settings,
    attempt::Attempt,
    hosts::Hosts,
    prints::{Prints, Spread},
    profile::Profile,
};

/// The memory that all accounts share.
#[derive(Debug, Clone, PartialEq, Default, serde::Serialize, serde::Deserialize)]
pub struct Shared {
    prints: Prints,
    hosts: Hosts,
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

    /// How far the sites have spread that an attempt links to, the worst of them.
    #[must_use]
    pub fn spread_of_sites(&self, attempt: &Attempt<'_>, account: u32) -> Option<Spread> {
        let sites = attempt.text.linked().map(|host| self.hosts.spread(host, account, attempt.at));
        sites.max_by_key(|spread| (spread.is_spam, spread.accounts))
    }

    /// Takes note of where a message leads that went out to somebody new; and of its text, if that is unlike what the account usually sends, and against whose sender
    /// something speaks already.
    pub fn note(
        &mut self,
        profile: &Profile,
        attempt: &Attempt<'_>,
        account: u32,
        settings: &Settings,
    ) {
        let is_suspect = profile.evidence.total() >= SUSPECT_POINTS;
        if profile.count_new(attempt) == 0 {
            return;
        }
        for host in attempt.text.linked() {
            self.hosts.note(host, account, is_suspect, attempt.at);
        }
        let Some(print) = attempt.text.print else { return };
        if is_suspect && !profile.style.is_own(print, attempt.at) {
            self.prints.note(print, account, attempt.at, settings.print_distance_max);
        }
    }

    /// An account was suspended: its last texts are spam, and so are the sites that they lead to.
    pub fn condemn(&mut self, profile: &Profile, attempt: &Attempt<'_>, settings: &Settings) {
        let last = attempt.text.print.filter(|&print| !profile.style.is_own(print, attempt.at));
        for print in profile.prints.iter().copied().chain(last) {
            self.prints.mark_spam(print, attempt.at, settings.print_distance_max);
        }
        for host in profile.linked.iter().copied().chain(attempt.text.linked()) {
            self.hosts.mark_spam(host, attempt.at);
        }
    }
}

/// A text counts as going round only where as much speaks against its sender.
const SUSPECT_POINTS: f32 = 1.0;
