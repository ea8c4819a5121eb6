//! Blocklists (DNSBL, RFC 5782): what to ask about an address or a domain, what an answer means, and what is believed.
//!
//! Bolt-on checkers cry wolf because they take any answer for a listing. Here an answer counts only if the list's own table has
//! its code; anything else is *unknown*, never listed and never clean ([`judge`]). A list is believed only while its test
//! entries are right and a random address is not listed ([`Lane`]), and a row of the matrix changes only when two checks, some
//! minutes apart, agree ([`Standing`]). Pure: names go out, answers and moments come in. Moments are UTC.

mod answer;
mod lane;
mod list;
mod listings;
mod name;
mod roster;
mod standing;
#[cfg(test)]
mod tests;
mod written;

pub use answer::{Answer, Code, Doubt, Failure, Finding, Listed, judge};
pub use lane::{Asks, Health, Impairment, Lane, Purpose, Question, Record, Row, Saved, Step};
pub use list::{Kind, LISTS_MAX, List, Lists, ListsError};
pub use listings::{Listing, Listings};
pub use name::{QueryName, Subject};
pub use roster::{Happening, Roster};
pub use standing::{Change, Pending, Standing, Verdict};
pub use written::Written;

pub use super::alarm::Severity;

/// What can be watched: with two seconds between two questions, all of it is asked about within a quarter of an hour.
pub const SUBJECTS_MAX: usize = 256;
