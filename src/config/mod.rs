//! The configuration: as written (serde) → checked (typed) → reload.
