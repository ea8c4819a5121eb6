//! Tollgate: an outbound SMTP proxy that never lets a customer send more than the plan allows.
//!
//! A message goes down through the stations once and never back up:
//!
//! ```text
//! bytes → net → smtp::server → intake ─ rules::identity → rules::verdict → store.reserve → deliver → store.settle → Event
//! ```
//!
//! The allowed imports, held by `tests/house.rs`:
//!
//! ```text
//! types ← event ← smtp, message, chart ← rules ← dial ← net, auth, scan, resolve, store, spool, telemetry, notify, mailbox
//!       ← standing ← intake, deliver, watch, admin ← config ← http, cli ← app ← main
//! ```
//!
//! `clock` stands beside `types`: everybody may hold a [`clock::Clock`], only that module reads one. ARCHITECTURE.md has
//! the life of a message, the code map and "where do I add X".

pub mod types;

pub mod clock;
pub mod event;

pub mod chart;
pub mod message;
pub mod smtp;

pub mod rules;

pub mod dial;

pub mod auth;
pub mod mailbox;
pub mod net;
pub mod notify;
pub mod resolve;
pub mod scan;
pub mod spool;
pub mod store;
pub mod telemetry;

pub mod standing;

pub mod admin;
pub mod deliver;
pub mod intake;
pub mod watch;

pub mod config;

pub mod cli;
pub mod http;

pub mod app;
