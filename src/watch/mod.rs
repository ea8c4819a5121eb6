//! Periodic tasks and readers of events: each is a file, reads the past and writes the store, and never calls the flow.

mod audit;
mod collector;

pub use audit::Auditor;
pub use collector::{Collector, Ear, collector};
