//! What is counted for an account and an hour.

use crate::types::Timestamp;

/// Defines the counters once: as fields, as names of columns, and in one order.
macro_rules! counters {
    ($($(#[$doc:meta])* $name:ident,)*) => {
        /// What was counted in some time.
        #[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
        #[serde(default)]
        pub struct Counts {
            $($(#[$doc])* pub $name: u64,)*
        }

        impl Counts {
            /// The counters' names, in the order of [`Counts::values`].
            pub const NAMES: &'static [&'static str] = &[$(stringify!($name)),*];

            /// The counters, in the order of [`Counts::NAMES`].
            #[must_use]
            pub fn values(&self) -> Vec<u64> {
                vec![$(self.$name),*]
            }

            /// Takes as many values as there are names; what is missing is 0.
            #[must_use]
            pub fn from_values(values: impl IntoIterator<Item = u64>) -> Self {
                let mut values = values.into_iter();
                Self { $($name: values.next().unwrap_or(0)),* }
            }

            /// Adds the counts of another time or account.
            pub const fn add(&mut self, other: &Self) {
                $(self.$name = self.$name.saturating_add(other.$name);)*
            }
        }
    };
}

counters! {
    /// Messages that the next hop accepted, or may have (see `unknown`).
    messages,
    /// Recipients that are charged as sent: those of accepted messages, and those whose fate is unknown.
    recipients,
    /// Recipients among `recipients` whose fate is unknown: the next hop vanished after the final dot.
    unknown,
    /// Recipients that the next hop put off (4xx), one by one or with the message.
    deferred,
    /// Recipients that the next hop refused for good (5xx), one by one or with the message.
    bounced,
    /// Recipients, or attempts to begin a message, over a limit of the account or tenant with a window below 24 hours.
    over_hour,
    /// The same over a limit with a window of 24 hours or more.
    over_day,
    /// The same over a limit of the client's address.
    over_client,
    /// The same while the account or tenant was suspended.
    suspended,
    /// The same for any other reason of our own.
    refused_other,
    /// The same that `mode = "observe"` let pass although a rule would have refused it; they count as sent too.
    observed,
    /// Limits that reached 80 % or 100 % of their use.
    warnings,
    /// Times that something was first found against an account or the tenant, which was warned or throttled for it.
    flagged,
    /// Times that an account or the tenant was throttled.
    throttled,
    /// Complaints of recipients.
    complaints,
    /// Octets of accepted messages.
    bytes,
}

impl Counts {
    /// Recipients that the next hop certainly accepted.
    #[must_use]
    pub const fn delivered(&self) -> u64 {
        self.recipients.saturating_sub(self.unknown)
    }

    /// Recipients that Tollgate itself refused, for whatever reason.
    #[must_use]
    pub const fn refused(&self) -> u64 {
        self.over_limit().saturating_add(self.suspended).saturating_add(self.refused_other)
    }

    /// Attempts over a limit.
    #[must_use]
    pub const fn over_limit(&self) -> u64 {
        self.over_hour.saturating_add(self.over_day).saturating_add(self.over_client)
    }
}

/// The first and the last moment of something.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Seen {
    /// The first, in UTC.
    pub first: Timestamp,
    /// The last, in UTC.
    pub last: Timestamp,
}

impl Seen {
    pub(super) fn at(moment: Timestamp) -> Self {
        Self { first: moment, last: moment }
    }

    /// Widens to another moment.
    pub fn widen(&mut self, other: Self) {
        self.first = self.first.min(other.first);
        self.last = self.last.max(other.last);
    }
}
