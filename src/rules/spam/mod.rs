//! Is this sender a spammer? One file a signal.
//!
//! Pure, as everything in `rules`.

pub mod content;
