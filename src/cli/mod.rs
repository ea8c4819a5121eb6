//! clap: decode, call admin, print.
