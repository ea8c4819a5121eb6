//! Periodic tasks and readers of events: each is a file, reads the past and writes the store, and never calls the flow.

mod collector;

pub use collector::{Collector, Ear, collector};
