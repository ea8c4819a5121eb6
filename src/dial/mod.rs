//! How the program reaches other programs on its own account: over HTTP, and through sockets. What is said there is the affair of
//! whoever asks.

mod http;
mod socket;

pub use http::{Target, TargetError, client, told};
pub use socket::{Duplex, connect};
