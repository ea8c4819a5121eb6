//! The one alert that cannot wait for the archive: that the archive cannot be written. It goes out from memory.

use super::{Ground, Outfit, rounds};
use crate::{
    event::{Event, Listener},
    rules::alarm::{Book, Kind, Notice, Why},
    types::Timestamp,
};
use std::{sync::Arc, time::Duration};
use tokio::sync::mpsc;

/// Where failures of the archive are heard.
pub struct Siren(mpsc::Receiver<(Timestamp, Event)>);

/// Listens for failures of the archive.
struct SirenEar(mpsc::Sender<(Timestamp, Event)>);

/// Connects a listener with the courier.
#[must_use]
pub fn siren() -> (Box<dyn Listener>, Siren) {
    let (sender, receiver) = mpsc::channel(HEARD_MAX);
    (Box::new(SirenEar(sender)), Siren(receiver))
}

impl Listener for SirenEar {
    fn notice(&self, at: Timestamp, event: &Event) {
        if matches!(event, Event::ArchiveFailed(_) | Event::ArchiveRecovered) {
            // If nobody takes them, there are enough of them.
            let _full = self.0.try_send((at, event.clone()));
        }
    }
}

/// What goes out from memory.
pub(super) struct Urgent {
    siren: Siren,
    book: Book,
    owed: Vec<(String, Arc<Notice>, Timestamp)>,
    told: Vec<Why>,
}

impl Urgent {
    pub(super) fn new(siren: Siren, now: Timestamp) -> Self {
        Self { siren, book: Book::new(now), owed: Vec::new(), told: Vec::new() }
    }

    /// Sends what is owed, at most a try each [`TRY_EVERY`].
    pub(super) async fn turn(&mut self, ground: &Ground, outfit: &Outfit) {
        let now = ground.clock.utc();
        while let Ok((at, event)) = self.siren.0.try_recv() {
            self.book.note(ground.clock.to_utc(at), &event);
        }
        self.book.turn(now);
        for notice in self.book.take().notices {
            let notice = Arc::new(notice);
            for (sink, _) in outfit.audience_of(&notice, None, now) {
                self.owed.push((sink, notice.clone(), now));
            }
        }
        for (sink, notice, next) in std::mem::take(&mut self.owed) {
            if now < next {
                self.owed.push((sink, notice, next));
                continue;
            }
            let sent = rounds::send_one(ground, outfit, &sink, &notice);
            let sent = tokio::time::timeout(TRY_TIME_MAX, sent).await;
            if matches!(sent, Ok(Ok(()))) {
                self.note_told(notice.why);
            } else if self.owed.len() < OWED_MAX {
                self.owed.push((sink, notice, now + TRY_EVERY));
            }
        }
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
