//! The decisions, pure: who is charged, what the limits are, whether there is room, what the client hears.
//!
//! Nothing here does I/O, reads a clock or keeps state; facts and moments come in as arguments, and what comes out is a
//! value. `intake` asks, `store` asks [`window`], `admin` asks for explanations.

pub mod alarm;
pub mod availability;
pub mod blocklist;
pub(crate) mod breaker;
pub mod egress;
pub mod identity;
pub mod judgement;
pub mod limits;
pub mod policy;
pub mod quota;
pub mod replay;
pub mod scan;
pub mod spam;
pub mod suspension;
pub mod tally;
pub mod verdict;
pub mod vitals;
pub mod window;
