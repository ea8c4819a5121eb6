//! The alerts that cannot wait for the archive: that the archive cannot be written and, of several nodes, that Redis is lost.
//! They go out from memory.

use super::{GIVE_UP_AFTER, Ground, Outfit, rounds};
use crate::{
    event::{Event, Listener},
    rules::alarm::{Book, Kind, Notice, Why},
    store::archive::stream::Content,
    types::Timestamp,
};
use std::{collections::HashSet, sync::Arc, time::Duration};
use tokio::{sync::mpsc, task::JoinSet};

/// Where failures of the archive are heard.
pub struct Siren {
    heard: mpsc::Receiver<(Timestamp, Event)>,
    /// This node among several.
    node: Option<String>,
}

/// Listens for failures of the archive, and of what several nodes share.
struct SirenEar {
    heard: mpsc::Sender<(Timestamp, Event)>,
    is_one_of_several: bool,
}

/// Connects a listener with the courier, of a node among several if it has a name.
#[must_use]
pub fn siren(node: Option<String>) -> (Box<dyn Listener>, Siren) {
    let (sender, receiver) = mpsc::channel(HEARD_MAX);
    let ear = SirenEar { heard: sender, is_one_of_several: node.is_some() };
    (Box::new(ear), Siren { heard: receiver, node })
}

impl Listener for SirenEar {
    fn notice(&self, at: Timestamp, event: &Event) {
        let is_urgent = match event {
            Event::ArchiveFailed(_) | Event::ArchiveRecovered => true,
            Event::StoreFailed(_) | Event::StoreRecovered => self.is_one_of_several,
            _ => false,
        };
        if is_urgent {
            // If nobody takes them, there are enough of them.
            let _full = self.heard.try_send((at, event.clone()));
        }
    }
}

/// What goes out from memory.
pub(super) struct Urgent {
    siren: Siren,
    book: Book,
    /// The oldest first.
    owed: Vec<Owed>,
    told: Vec<Why>,
}

struct Owed {
    sink: String,
    notice: Arc<Notice>,
    /// The next try is not before this moment.
    at: Timestamp,
}

impl Urgent {
    pub(super) fn new(siren: Siren, now: Timestamp) -> Self {
        Self { siren, book: Book::new(now), owed: Vec::new(), told: Vec::new() }
    }

    /// Sends what is owed: to each receiver the oldest, to all at the same time, at most a try each [`TRY_EVERY`]. Lasts no longer
    /// than one try, because everything else waits for it.
    pub(super) async fn turn(&mut self, ground: &Arc<Ground>, outfit: &Arc<Outfit>) {
        let now = ground.clock.utc();
        self.listen(ground, outfit, now);
        let mut tries = JoinSet::new();
        for Owed { sink, notice, .. } in self.take_due(now) {
            let (ground, outfit) = (ground.clone(), outfit.clone());
            tries.spawn(async move {
                let sent = rounds::send_one(&ground, &outfit, &sink, &notice);
                let sent = tokio::time::timeout(TRY_TIME_MAX, sent).await;
                (sink, notice, matches!(sent, Ok(Ok(()))))
            });
        }
        // A try that panics was one that failed for good.
        let mut of_all = Vec::new();
        while let Some(tried) = tries.join_next().await {
            let Ok((sink, notice, is_sent)) = tried else { continue };
            if is_sent && notice.alert.kind == Kind::StoreFailing {
                of_all.push(notice);
            } else if is_sent {
                self.note_told(notice.why);
            } else if self.owed.len() < OWED_MAX {
                // What came later waits behind it.
                self.owed.insert(0, Owed { sink, notice, at: now + TRY_EVERY });
            }
        }
        // Other nodes know of an alert whether it is delivered, and not to whom: it is when nobody waits for it any more.
        of_all.retain(|notice| self.owed.iter().all(|owed| owed.notice.id != notice.id));
        if !of_all.is_empty() {
            let delivered = of_all.iter().map(|notice| notice.id.clone()).collect();
            let content = Content { delivered, ..Content::default() };
            // If it is not noted it is delivered once more.
            let _twice = ground.archive.post(content, now).await;
        }
    }

    /// Takes note of what was heard.
    fn listen(&mut self, ground: &Ground, outfit: &Outfit, now: Timestamp) {
        while let Ok((at, event)) = self.siren.heard.try_recv() {
            let at = ground.clock.to_utc(at);
            match &self.siren.node {
                None => self.book.note(at, &event),
                // The same alert as that which all nodes have when Redis is back.
                Some(node) => {
                    for sign in self.book.signs(at, &event, node) {
                        self.book.take_note(at, sign);
                    }
                }
            }
        }
        self.book.turn(now);
        for notice in self.book.take().notices {
            // When Redis is back there is a node that tells so of all.
            if notice.alert.kind == Kind::StoreFailing && notice.why == Why::Resolved {
                continue;
            }
            let notice = Arc::new(notice);
            for (sink, _) in outfit.audience_of(&notice, None, now) {
                self.owed.push(Owed { sink, notice: notice.clone(), at: now });
            }
        }
        self.owed.truncate(OWED_MAX);
        self.give_up(now);
    }

    fn give_up(&mut self, now: Timestamp) {
        self.owed.retain(|owed| now.since(owed.notice.at) < GIVE_UP_AFTER);
    }

    /// The oldest for each receiver, if it may be tried now; what came later waits for it, so that all arrive in their order.
    fn take_due(&mut self, now: Timestamp) -> Vec<Owed> {
        let mut seen = HashSet::new();
        let is_due = |owed: &mut Owed| seen.insert(owed.sink.clone()) && owed.at <= now;
        self.owed.extract_if(.., is_due).collect()
    }

    fn note_told(&mut self, why: Why) {
        if !self.told.contains(&why) {
            self.told.push(why);
        }
    }

    /// True if this message of the archive's was told already; each is asked for once.
    pub(super) fn was_told(&mut self, notice: &Notice) -> bool {
        let place = self.told.iter().position(|why| *why == notice.why);
        let place = place.filter(|_| notice.alert.kind == Kind::ArchiveFailing);
        place.map(|place| self.told.swap_remove(place)).is_some()
    }
}

const HEARD_MAX: usize = 64;
const OWED_MAX: usize = 100;
const TRY_EVERY: Duration = Duration::from_secs(30);
const TRY_TIME_MAX: Duration = Duration::from_secs(10);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::Trouble;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_millis(second * 1_000)
    }

    /// Two messages for two receivers, of which `a` is tried again later.
    fn urgent() -> Urgent {
        let mut urgent = Urgent::new(siren(None).1, at(0));
        let mut book = Book::new(at(0));
        book.note(at(0), &Event::ArchiveFailed(Trouble { detail: "disk".into() }));
        book.note(at(1), &Event::ArchiveRecovered);
        book.turn(at(61));
        let notices: Vec<_> = book.take().notices.into_iter().map(Arc::new).collect();
        assert_eq!(notices.len(), 2);
        for notice in notices {
            for (sink, next) in [("a", at(100)), ("b", at(61))] {
                let (sink, notice) = (sink.to_owned(), notice.clone());
                urgent.owed.push(Owed { sink, notice, at: next });
            }
        }
        urgent
    }

    #[test]
    fn each_receiver_is_tried_with_its_oldest_message() {
        let mut urgent = urgent();
        let mut due = |second| -> Vec<(String, &'static str)> {
            let due = urgent.take_due(at(second)).into_iter();
            due.map(|owed| (owed.sink, owed.notice.why.name())).collect()
        };
        assert_eq!(due(60), []);
        assert_eq!(due(61), [("b".to_owned(), "raised")]);
        assert_eq!(due(62), [("b".to_owned(), "resolved")]);
        assert_eq!(due(100), [("a".to_owned(), "raised")]);
        assert_eq!(due(101), [("a".to_owned(), "resolved")]);
        assert_eq!(due(102), []);
    }

    #[test]
    fn what_nobody_took_for_days_is_given_up() {
        let mut urgent = urgent();
        let given_up = i64::try_from(GIVE_UP_AFTER.as_secs()).unwrap();
        urgent.give_up(at(given_up - 1));
        assert_eq!(urgent.owed.len(), 4);
        urgent.give_up(at(given_up));
        assert_eq!(urgent.owed.len(), 2, "the end was told a minute later");
        urgent.give_up(at(given_up + 61));
        assert_eq!(urgent.owed.len(), 0);
    }
}
