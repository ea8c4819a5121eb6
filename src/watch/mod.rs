//! Periodic tasks and readers of events: each is a file, reads the past and writes the store, and never calls the flow.

mod alerts;
mod audit;
mod availability;
mod behaviour;
mod blocklist;
mod collector;
mod departures;
mod egress;
mod quota;
mod reports;
mod retention;
mod stream;
mod suspension;
mod vitals;

pub use alerts::{
    AlertSettings, Courier, EmailSettings, Ground as CourierGround, Outfit, OutfitError, Post,
    PostError, Siren, siren,
};
pub use audit::Auditor;
pub use availability::Availability;
pub use behaviour::Scribe;
pub use blocklist::{
    BlocklistDesk, BlocklistSettings, BlocklistSetup, BlocklistView, Blocklists, blocklist_desk,
};
pub use collector::{Backlog, Collector, Ear, collector};
pub use departures::Departures;
pub use egress::{Egress, Reaction};
pub use quota::MailboxRounds;
pub use reports::{Letters, ReportLetters, Reports};
pub use retention::Retention;
pub use stream::{Publisher, StreamProgress, StreamReader};
pub use suspension::Suspensions;
pub use vitals::Vitals;
