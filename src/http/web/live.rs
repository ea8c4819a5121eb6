//! Tells open pages that something happened, by server-sent events, so that they fetch themselves again.
//!
//! Nothing is said but that, and to a tenant only of its own matters. A stream ends with its session or its token; they are
//! asked about anew with each word and at least every [`BEAT`].

use super::{
    super::live::Place,
    Web,
    answer::{Answer, Failure},
    visit::{self, SignedIn},
};
use crate::{admin::Caller, store::archive::EventRow};
use axum::{
    extract::State,
    http::HeaderMap,
    response::{
        IntoResponse as _, Sse,
        sse::{Event, KeepAlive},
    },
};
use std::{convert::Infallible, pin::pin, sync::Arc, time::Duration};
use tokio::sync::{
    broadcast::{Receiver, error::RecvError},
    mpsc,
};
use tokio_stream::wrappers::ReceiverStream;

pub(super) async fn stream(
    State(web): State<Web>,
    signed_in: SignedIn,
    headers: HeaderMap,
) -> Answer {
    let place = web.api.take_stream(&signed_in.viewer.caller).map_err(|_| Failure::Busy)?;
    let (words, stream) = mpsc::channel(1);
    let events = web.admin.archive.watch();
    let watched = Watched { web, headers, caller: signed_in.viewer.caller.clone(), _place: place };
    tokio::spawn(watched.run(events, words));
    let beat = KeepAlive::new().interval(BEAT);
    Ok(Sse::new(ReceiverStream::new(stream)).keep_alive(beat).into_response())
}

/// What one stream is about.
struct Watched {
    web: Web,
    headers: HeaderMap,
    caller: Caller,
    _place: Place,
}

type Words = mpsc::Sender<Result<Event, Infallible>>;

impl Watched {
    async fn run(self, mut events: Receiver<Arc<EventRow>>, words: Words) {
        while let Some(change) = self.next_change(&mut events, &words).await {
            let ends = !self.is_still_signed_in();
            let word = match (ends, change) {
                (true, _) => "ended",
                (false, Change::Happened) => "changed",
                (false, Change::Nothing) => continue,
            };
            // An event without data is one that browsers do not tell.
            let said = words.send(Ok(Event::default().event(word).data(word))).await;
            if ends || said.is_err() {
                return;
            }
            // However much happens, a page hears of it only now and then.
            tokio::time::sleep(WORDS_EVERY).await;
        }
    }

    /// The next thing that concerns the viewer, or that nothing did for a while; none when nobody listens any more.
    async fn next_change(
        &self,
        events: &mut Receiver<Arc<EventRow>>,
        words: &Words,
    ) -> Option<Change> {
        // However much happens that does not concern the viewer.
        let mut beat = pin!(tokio::time::sleep(BEAT));
        loop {
            tokio::select! {
                () = words.closed() => return None,
                () = &mut beat => return Some(Change::Nothing),
                event = events.recv() => match event {
                    Ok(event) if self.concerns(&event) => return Some(Change::Happened),
                    Ok(_) => {}
                    Err(RecvError::Lagged(_)) => return Some(Change::Happened),
                    Err(RecvError::Closed) => return None,
                },
            }
        }
    }

    fn concerns(&self, event: &EventRow) -> bool {
        match self.caller.access.tenant() {
            Some(tenant) => event.tenant.as_deref() == Some(tenant.as_str()),
            None => true,
        }
    }

    fn is_still_signed_in(&self) -> bool {
        visit::viewer_of(&self.web, &self.headers, super::session::By::Script).is_some()
    }
}

enum Change {
    Happened,
    Nothing,
}

/// The least time between two words of a stream.
const WORDS_EVERY: Duration = Duration::from_secs(1);
/// How often a silent stream shows that it is there.
const BEAT: Duration = Duration::from_secs(10);
