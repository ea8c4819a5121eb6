//! axum: the API, the pages, metrics, health and the local control socket: decode, call admin, encode.
//!
//! [`serve_api`] answers whoever has a token, on loopback or behind TLS, and shows people the pages ([`web`]). [`serve_public`] answers on a
//! loopback address and changes nothing. [`serve_control`] answers on a Unix socket that only its owner may open; who asks is what the
//! kernel says about the other end. Errors are problem details (RFC 9457). Nothing here
//! decides anything, and nothing waits longer for a client than [`bounded`] allows.

mod api;
mod availability;
mod backups;
mod bounded;
mod caller;
mod control;
mod listings;
mod live;
mod privacy;
mod problem;
mod public;
mod secure;
mod socket;
mod standings;
mod storage;
#[cfg(test)]
mod tests;
mod web;

pub use api::{ApiState, serve_api};
pub use caller::user_name;
pub use control::serve_control;
pub use public::{PublicState, serve_public};
pub use secure::{ApiListener, ApiStream};
pub use socket::{ControlSocket, SocketError};
