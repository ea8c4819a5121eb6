//! Who is signed in: sessions of browsers, in memory, bounded in number, in idle time and in age.
//!
//! A session begins with a token and holds the token's id, never the token; each request asks anew whether that token still
//! counts. The cookie has 256 random bits, of which only the digest is kept here. A restart ends all sessions, and whoever
//! was signed in signs in again.

use crate::types::{Secret, Timestamp};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use parking_lot::Mutex;
use ring::digest;
use std::{collections::HashMap, time::Duration};

/// All sessions; `H` is the holder of a session, the id of a token.
pub(super) struct Sessions<H>(Mutex<HashMap<Digest, Session<H>>>);

/// What is found of a session.
#[derive(Debug, Clone)]
pub(super) struct Found<H> {
    /// The token's id.
    pub(super) holder: H,
    /// What a form of this session must bring back.
    pub(super) form_key: FormKey,
}

/// What a form must bring back, so that no other site can fill it in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct FormKey(Secret);

/// Whether a request is a person's doing: the script's own requests keep no session alive.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum By {
    /// Somebody clicked.
    Person,
    /// The page renewed itself.
    Script,
}

type Digest = [u8; 32];

struct Session<H> {
    holder: H,
    form_key: FormKey,
    began: Timestamp,
    seen: Timestamp,
}

impl<H> Session<H> {
    fn is_over(&self, now: Timestamp) -> bool {
        now.since(self.began) >= AGE_MAX || now.since(self.seen) >= IDLE_MAX
    }
}

impl<H: Clone + PartialEq> Sessions<H> {
    pub(super) fn new() -> Self {
        Self(Mutex::new(HashMap::new()))
    }

    /// Begins a session; returns the cookie's value. Where there is no room, whoever was idle longest is signed out.
    ///
    /// # Errors
    /// If the system has no random numbers.
    pub(super) fn begin(&self, holder: H, now: Timestamp) -> Result<String, getrandom::Error> {
        let (id, form_key) = (draw()?, FormKey(Secret::new(draw()?.into_bytes())));
        let mut sessions = self.0.lock();
        sessions.retain(|_, session| !session.is_over(now));
        make_room(&mut sessions, SESSIONS_PER_HOLDER_MAX, |session| session.holder == holder);
        make_room(&mut sessions, SESSIONS_MAX, |_| true);
        sessions.insert(digest_of(&id), Session { holder, form_key, began: now, seen: now });
        Ok(id)
    }

    /// The session of a cookie, if it goes on.
    pub(super) fn find(&self, id: &str, by: By, now: Timestamp) -> Option<Found<H>> {
        let digest = digest_of(id);
        let mut sessions = self.0.lock();
        let session = sessions.get_mut(&digest)?;
        if session.is_over(now) {
            sessions.remove(&digest);
            return None;
        }
        if by == By::Person {
            session.seen = now;
        }
        Some(Found { holder: session.holder.clone(), form_key: session.form_key.clone() })
    }

    /// Ends a session.
    pub(super) fn end(&self, id: &str) {
        self.0.lock().remove(&digest_of(id));
    }
}

impl FormKey {
    /// As it stands in a form.
    pub(super) fn as_str(&self) -> &str {
        std::str::from_utf8(self.0.expose()).unwrap_or_default()
    }

    /// True if a form brought it back; compared in constant time.
    pub(super) fn matches(&self, given: &str) -> bool {
        self.0 == Secret::new(given.as_bytes())
    }
}

/// Signs out whoever was idle longest until fewer than `max` of the chosen sessions are left.
fn make_room<H>(
    sessions: &mut HashMap<Digest, Session<H>>,
    max: usize,
    is_chosen: impl Fn(&Session<H>) -> bool,
) {
    let mut chosen: Vec<(Timestamp, Digest)> = sessions
        .iter()
        .filter(|(_, session)| is_chosen(session))
        .map(|(digest, session)| (session.seen, *digest))
        .collect();
    if chosen.len() < max {
        return;
    }
    chosen.sort_unstable();
    for (_, digest) in &chosen[..=chosen.len() - max] {
        sessions.remove(digest);
    }
}

fn draw() -> Result<String, getrandom::Error> {
    let mut octets = [0; 32];
    getrandom::fill(&mut octets)?;
    Ok(URL_SAFE_NO_PAD.encode(octets))
}

fn digest_of(id: &str) -> Digest {
    let mut octets = [0; 32];
    octets.copy_from_slice(digest::digest(&digest::SHA256, id.as_bytes()).as_ref());
    octets
}

/// Sessions at a time.
const SESSIONS_MAX: usize = 1_000;
/// Sessions of one token at a time.
const SESSIONS_PER_HOLDER_MAX: usize = 20;
/// How long a session lasts without anybody's doing.
pub(super) const IDLE_MAX: Duration = Duration::from_secs(30 * 60);
/// How long a session lasts at most.
pub(super) const AGE_MAX: Duration = Duration::from_secs(12 * 3600);

#[cfg(test)]
mod tests {
    use super::*;

    fn at(minutes: i64) -> Timestamp {
        Timestamp::from_millis(minutes * 60_000)
    }

    #[test]
    fn a_session_ends_when_it_is_idle_old_or_left() {
        let sessions = Sessions::new();
        let id = sessions.begin(1, at(0)).unwrap();
        assert_eq!(sessions.find(&id, By::Person, at(29)).unwrap().holder, 1);
        assert!(sessions.find(&id, By::Person, at(58)).is_some(), "a click keeps it alive");
        assert!(sessions.find(&id, By::Script, at(87)).is_some());
        assert!(sessions.find(&id, By::Script, at(88)).is_none(), "the script does not");
        assert!(sessions.find(&id, By::Person, at(0)).is_none(), "what ended does not come back");

        let id = sessions.begin(1, at(0)).unwrap();
        for minutes in (0..12 * 60).step_by(20) {
            assert!(sessions.find(&id, By::Person, at(minutes)).is_some(), "{minutes}");
        }
        assert!(sessions.find(&id, By::Person, at(12 * 60)).is_none());

        let id = sessions.begin(1, at(0)).unwrap();
        sessions.end(&id);
        assert!(sessions.find(&id, By::Person, at(0)).is_none());
        assert!(sessions.find("", By::Person, at(0)).is_none());
    }

    #[test]
    fn sessions_are_bounded_and_the_idle_go_first() {
        let sessions = Sessions::new();
        let first = sessions.begin(0, at(0)).unwrap();
        let second = sessions.begin(0, at(1)).unwrap();
        sessions.find(&first, By::Person, at(2)).unwrap();
        for _ in 2..=SESSIONS_PER_HOLDER_MAX {
            sessions.begin(0, at(3)).unwrap();
        }
        assert!(sessions.find(&first, By::Script, at(3)).is_some());
        assert!(sessions.find(&second, By::Script, at(3)).is_none(), "it was idle longest");
        for holder in 1..=2 * SESSIONS_MAX {
            sessions.begin(holder, at(4)).unwrap();
        }
        assert_eq!(sessions.0.lock().len(), SESSIONS_MAX);
    }

    #[test]
    fn a_form_belongs_to_its_session() {
        let sessions = Sessions::new();
        let (one, other) = (sessions.begin(1, at(0)).unwrap(), sessions.begin(1, at(0)).unwrap());
        let key = |id| sessions.find(id, By::Person, at(0)).unwrap().form_key;
        assert!(key(&one).matches(key(&one).as_str()));
        assert!(!key(&one).matches(key(&other).as_str()) && !key(&one).matches(""));
    }
}
