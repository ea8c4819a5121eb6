//! Events as they happen, by server-sent events: what was missed is read from the archive first, and again whenever the one
//! who listens falls behind, so nothing is left out and nothing comes twice.
//!
//! A stream ends when its token does. Their number is bounded, in all and for each token.

use super::problem::Problem;
use crate::{
    admin::{self, Admin, Caller, EventView},
    store::archive::{EVENTS_PAGE_MAX, EventFilter, EventRow, Order},
};
use axum::{
    http::StatusCode,
    response::sse::{Event, Sse},
};
use parking_lot::Mutex;
use std::{collections::HashMap, convert::Infallible, sync::Arc, time::Duration};
use tokio::{
    sync::{
        broadcast::{Receiver, error::RecvError},
        mpsc,
    },
    time::MissedTickBehavior,
};
use tokio_stream::{Stream, wrappers::ReceiverStream};

/// The places for those who listen, in the API and on pages.
#[derive(Clone, Default)]
pub(super) struct Streams(Arc<Mutex<HashMap<i64, usize>>>);

impl Streams {
    /// A place for one stream, if there is room.
    pub(super) fn take(&self, caller: &Caller) -> Result<Place, Problem> {
        let mut taken = self.0.lock();
        let all: usize = taken.values().sum();
        let own = taken.entry(caller.id).or_insert(0);
        if *own >= STREAMS_PER_TOKEN_MAX || all >= STREAMS_MAX {
            let detail = "as many streams of events are open as may be";
            let problem = Problem::new(StatusCode::TOO_MANY_REQUESTS, detail);
            return Err(problem.retry_after(CHECK_EVERY.as_secs()));
        }
        *own += 1;
        Ok(Place { streams: self.clone(), token: caller.id })
    }
}

/// A place for one stream, given back when it is dropped.
pub(super) struct Place {
    streams: Streams,
    token: i64,
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut taken = self.streams.0.lock();
        if let Some(own) = taken.get_mut(&self.token) {
            *own -= 1;
        }
        taken.retain(|_, own| *own > 0);
    }
}

/// The events that a filter wants and the caller may see, from the one after `last` on.
pub(super) fn follow(
    admin: Admin,
    streams: &Streams,
    caller: Caller,
    filter: EventFilter,
    last: i64,
) -> Result<Sse<impl Stream<Item = Result<Event, Infallible>> + use<>>, Problem> {
    let place = streams.take(&caller)?;
    let (sender, receiver) = mpsc::channel(EVENTS_READY_MAX);
    // Heard from now on, before what was missed is read, so that nothing falls between.
    let live = admin.archive.watch();
    let filter = EventFilter { order: Order::Oldest, max: EVENTS_PAGE_MAX, ..filter };
    let listener = Listener { admin, caller, filter, sender, last, _place: place };
    // It ends with the connection that reads from the other end, or with the token.
    tokio::spawn(listener.run(live));
    Ok(Sse::new(ReceiverStream::new(receiver)))
}

/// Whoever listens.
struct Listener {
    admin: Admin,
    caller: Caller,
    filter: EventFilter,
    sender: mpsc::Sender<Result<Event, Infallible>>,
    /// The last event that was sent or passed over.
    last: i64,
    _place: Place,
}

/// Why a stream ends: nobody reads any more, the token has ended, or the archive cannot be read.
struct Over;

impl Listener {
    async fn run(mut self, live: Receiver<Arc<EventRow>>) {
        let Err(Over) = self.tell_all(live).await;
    }

    async fn tell_all(&mut self, mut live: Receiver<Arc<EventRow>>) -> Result<Infallible, Over> {
        // Something comes at once, so that a page can say that it is connected.
        self.send(Event::default().comment("here")).await?;
        self.catch_up().await?;
        // However much happens that is nobody's here, the other end hears that it is connected, and the token is looked at.
        let mut beat = tokio::time::interval(CHECK_EVERY);
        beat.set_missed_tick_behavior(MissedTickBehavior::Delay);
        beat.reset();
        loop {
            tokio::select! {
                told = live.recv() => match told {
                    Ok(row) => self.tell(&row).await?,
                    Err(RecvError::Lagged(_)) => self.catch_up().await?,
                    Err(RecvError::Closed) => return Err(Over),
                },
                _ = beat.tick() => {
                    self.send(Event::default().comment("still here")).await?;
                }
                () = self.sender.closed() => return Err(Over),
            }
        }
    }

    /// Tells what the archive has beyond the last event.
    async fn catch_up(&mut self) -> Result<(), Over> {
        loop {
            let filter = EventFilter { beyond: Some(self.last), ..self.filter.clone() };
            let missed = self.admin.archive.events(filter).await.map_err(|_| Over)?;
            for row in &missed {
                self.tell(row).await?;
            }
            if missed.len() < EVENTS_PAGE_MAX {
                return Ok(());
            }
        }
    }

    async fn tell(&mut self, row: &EventRow) -> Result<(), Over> {
        if row.id <= self.last {
            return Ok(());
        }
        self.last = row.id;
        if !self.filter.wants(row) {
            return Ok(());
        }
        let view = EventView::new(row, &self.caller);
        let event = Event::default().id(row.id.to_string()).event(row.name.clone());
        self.send(event.json_data(view).map_err(|_| Over)?).await
    }

    async fn send(&self, event: Event) -> Result<(), Over> {
        admin::still_valid(&self.admin, &self.caller).ok_or(Over)?;
        self.sender.send(Ok(event)).await.map_err(|_| Over)
    }
}

/// Events that wait to be sent; beyond them the archive is read again later.
const EVENTS_READY_MAX: usize = 64;
/// How often a token is looked at while nothing happens, and something sent: less than a connection may be idle.
const CHECK_EVERY: Duration = Duration::from_secs(5);
/// Streams at a time, of all tokens (half of the listener's connections, so that others find one) and of one.
const STREAMS_MAX: usize = 32;
const STREAMS_PER_TOKEN_MAX: usize = 8;
