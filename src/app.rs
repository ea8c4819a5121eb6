//! Composition root: build, start, reload, drain, stop.
