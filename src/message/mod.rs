//! The text of a message as far as Tollgate looks at it: the header's fields, and the Received field that it adds.
//!
//! Everything here is pure and works on the text as it came, dot-stuffed, so that positions in it are positions in the
//! stored body. [`header`] finds fields, counts hops and says which octets to leave out; [`evidence`] reads who an
//! MTA says has sent the message; [`received`] builds our own field; [`facts`](mod@facts) reads what the whole message says and
//! is like. Nothing here believes anything: whether evidence counts is `rules::identity`'s to say. The text comes from
//! `spool`, by way of `intake`.

pub mod evidence;
pub mod facts;
pub mod feedback;
pub mod header;
pub mod names;
pub mod received;

pub use evidence::{Found, HeaderEvidence, header_evidence};
pub use facts::{Excerpt, Facts, Fingerprint, Form, Mark, Marks, SCAN_BYTES_MAX, facts};
pub use feedback::{Feedback, FeedbackError, FeedbackKind, feedback};
pub use header::{
    HEADER_SCAN_BYTES_MAX, begins_with_continuation, cuts_of_identity_fields, received_count,
};
pub use names::{Names, SubjectKey, names};
pub use received::{Dialect, ReceivedFacts, ShownClient, received_field};
