//! Periodic tasks and readers of events: each is a file, reads the past and writes the store, and never calls the flow.

mod alerts;
mod audit;
mod availability;
mod collector;
mod retention;
mod vitals;

pub use alerts::{
    AlertSettings, Courier, EmailSettings, Ground as CourierGround, Outfit, OutfitError, Post,
    PostError, Siren, siren,
};
pub use audit::Auditor;
pub use availability::Availability;
pub use collector::{Backlog, Collector, Ear, collector};
pub use retention::Retention;
pub use vitals::Vitals;
