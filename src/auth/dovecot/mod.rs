//! Passwords that a Dovecot knows: its authentication socket as the place where logins are checked.

pub mod protocol;
