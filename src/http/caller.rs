//! Who is at the other end of the control socket, as the kernel says (SO_PEERCRED).

use super::bounded::Bounded;
use crate::types::{Actor, Via};
use axum::{extract::connect_info::Connected, serve::IncomingStream};
use tokio::net::UnixListener;

/// The name that a change is recorded under: `alice (uid 1000)`, or `uid 1000` for a user without a name.
#[derive(Debug, Clone)]
pub(super) struct Caller(Actor);

impl Caller {
    pub(super) const fn actor(&self) -> &Actor {
        &self.0
    }
}

impl Connected<IncomingStream<'_, Bounded<UnixListener>>> for Caller {
    fn connect_info(stream: IncomingStream<'_, Bounded<UnixListener>>) -> Self {
        let credentials = stream.io().get().peer_cred();
        let text = credentials.map_or_else(|_| "unknown".into(), |peer| user_name(peer.uid()));
        Self(Actor::new(Via::ControlSocket, &text))
    }
}

/// `alice (uid 1000)`, or `uid 1000` for a user without a name.
#[must_use]
pub fn user_name(uid: u32) -> String {
    actor(uid, &passwd())
}

fn passwd() -> String {
    std::fs::read_to_string("/etc/passwd").unwrap_or_default()
}

fn actor(uid: u32, passwd: &str) -> String {
    let wanted = uid.to_string();
    let name = passwd.lines().find_map(|line| {
        let mut fields = line.split(':');
        let name = fields.next()?;
        (fields.nth(1)? == wanted).then_some(name)
    });
    name.map_or_else(|| format!("uid {uid}"), |name| format!("{name} (uid {uid})"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_user_has_a_name_or_a_number() {
        let passwd =
            "root:x:0:0:root:/root:/bin/sh\nbroken\nalice:x:1000:1000::/home/alice:/bin/sh\n";
        for (uid, expected) in [(0, "root (uid 0)"), (1000, "alice (uid 1000)"), (7, "uid 7")] {
            assert_eq!(actor(uid, passwd), expected);
        }
    }
}
