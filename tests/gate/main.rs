//! The whole program as its users meet it: mail programs, mail servers, operators, and those who try to get round it.
//!
//! Every test starts the real binary in a folder of its own with a next hop to look into; see `tests/support`.

#![expect(clippy::unwrap_used, reason = "a test may stop at anything it did not expect")]
#![expect(clippy::print_stderr, reason = "a failing test shows the log of the gate")]

#[path = "../support/mod.rs"]
mod support;

mod alerts;
mod api;
mod audit;
mod availability;
mod backup;
mod blocklists;
mod browser;
mod clock;
mod cluster;
mod crash;
mod delivery;
mod dovecot;
mod egress;
mod exim;
mod faults;
mod fleet;
mod harness;
mod judge;
mod lifecycle;
mod limits;
mod load;
mod logins;
mod lookups;
mod mail_programs;
mod migrate;
mod neighbours;
mod operators;
mod postfix;
mod privacy;
mod prometheus;
mod proxy;
mod redis;
mod relay;
mod reports;
mod retention;
mod scan;
mod scanners;
mod scram;
mod smuggling;
mod standings;
mod storage;
mod stream;
mod tls;
mod trace;
mod trust;
mod wire;
