//! Rounds at webhooks that take, refuse or fail, against a small server.

use super::*;
use crate::{
    admin::fixture,
    event::{NextHopState, SinkState},
    notify::WebhookSettings,
    rules::alarm::{Audience, Book, Severity},
    store::archive::Batch,
};
use parking_lot::Mutex;
use std::net::SocketAddr;
use tokio::{
    io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufStream},
    net::TcpListener,
};

const NOC: &str = "webhook:noc";

/// What a receiver answers to a message of a kind.
type Answers = Arc<Mutex<HashMap<&'static str, u16>>>;

/// A receiver, and what it took: kind and why.
struct Receiver {
    address: SocketAddr,
    answers: Answers,
    taken: Arc<Mutex<Vec<String>>>,
}

impl Receiver {
    /// Takes everything for which there is no other answer.
    async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (answers, taken) = (Answers::default(), Arc::<Mutex<Vec<String>>>::default());
        let (told, kept) = (answers.clone(), taken.clone());
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let mut stream = BufStream::new(stream);
                let body = request(&mut stream).await;
                let kind = body["condition_name"].as_str().unwrap();
                let status = told.lock().get(kind).copied().unwrap_or(204);
                if status == 204 {
                    kept.lock().push(format!("{kind} {}", body["why"].as_str().unwrap()));
                }
                let answer = format!("HTTP/1.1 {status} x\r\nConnection: close\r\n\r\n");
                stream.write_all(answer.as_bytes()).await.unwrap();
                stream.flush().await.unwrap();
            }
        });
        Self { address, answers, taken }
    }

    fn answers(&self, kind: &'static str, status: u16) {
        self.answers.lock().insert(kind, status);
    }

    fn taken(&self) -> Vec<String> {
        std::mem::take(&mut self.taken.lock())
    }
}

async fn request(stream: &mut BufStream<tokio::net::TcpStream>) -> serde_json::Value {
    let mut length = 0;
    loop {
        let mut line = String::new();
        stream.read_line(&mut line).await.unwrap();
        if let Some(text) = line.to_lowercase().strip_prefix("content-length:") {
            length = text.trim().parse().unwrap();
        }
        if line == "\r\n" {
            break;
        }
    }
    let mut body = vec![0; length];
    stream.read_exact(&mut body).await.unwrap();
    serde_json::from_slice(&body).unwrap()
}

fn outfit(webhooks: &[(&str, SocketAddr)]) -> Arc<Outfit> {
    let webhook = |(name, address): &(&str, SocketAddr)| WebhookSettings {
        name: (*name).to_owned(),
        url: format!("http://{address}/").parse().unwrap(),
        secret: None,
        audience: Audience { severity: Severity::Info, tenants: Vec::new() },
        timeout: Duration::from_secs(5),
    };
    let settings = AlertSettings {
        gate: "gate.example".parse().unwrap(),
        quiet: None,
        tls_ca: None,
        webhooks: webhooks.iter().map(webhook).collect(),
        email: None,
        alertmanager: None,
    };
    Arc::new(Outfit::new(settings).unwrap())
}

fn ground(gate: &fixture::Gate) -> Arc<Ground> {
    let admin = &gate.admin;
    Arc::new(Ground {
        archive: admin.archive.clone(),
        records: admin.records.clone(),
        post: Post::new(|| unreachable!("there are no letters here")),
        clock: admin.clock.clone(),
        events: admin.events.clone(),
        outfit: Arc::new(ArcSwap::new(outfit(&[]))),
    })
}

/// Keeps what the book says of these events, and chooses the receivers.
async fn owe(ground: &Arc<Ground>, outfit: &Outfit, events: &[Event]) {
    let now = ground.clock.utc();
    let mut book = Book::new(now);
    events.iter().for_each(|event| book.note(now, event));
    // What must be gone for a minute to be over, is.
    book.turn(now + Duration::from_secs(60));
    let batch = Batch { alarm: book.take(), ..Batch::default() };
    ground.archive.keep(Arc::new(batch)).await.unwrap();
    let mut desk = Desk::new(ground.clone(), siren(None).1);
    desk.route_pending(outfit, ground.clock.utc()).await.unwrap();
}

fn trouble() -> Trouble {
    Trouble { detail: "x".into() }
}

#[tokio::test]
async fn after_an_outage_of_a_receiver_messages_come_in_their_order() {
    let (gate, noc) = (fixture::gate(), Receiver::start().await);
    let (ground, outfit) = (ground(&gate), outfit(&[("noc", noc.address)]));
    owe(&ground, &outfit, &[Event::StoreFailed(trouble()), Event::StoreRecovered]).await;
    noc.answers("store-failing", 503);
    let (_, health) = rounds::run(&ground, &outfit, NOC.into(), Health::default()).await;
    assert!(health.fails() && health.pauses(ground.clock.utc()));
    assert_eq!(*gate.told.lock(), ["alert-sink-failed"]);
    noc.answers("store-failing", 204);
    let (_, health) = rounds::run(&ground, &outfit, NOC.into(), health).await;
    assert_eq!(noc.taken(), ["store-failing raised", "store-failing resolved"]);
    assert!(!health.fails());
    assert_eq!(*gate.told.lock(), ["alert-sink-failed", "alert-sink-recovered"]);
}

#[tokio::test]
async fn one_message_that_is_refused_says_nothing_about_the_receiver() {
    let (gate, noc) = (fixture::gate(), Receiver::start().await);
    let (ground, outfit) = (ground(&gate), outfit(&[("noc", noc.address)]));
    owe(&ground, &outfit, &[Event::StoreFailed(trouble()), Event::TaskPanicked(trouble())]).await;
    noc.answers("store-failing", 400);
    let (_, health) = rounds::run(&ground, &outfit, NOC.into(), Health::default()).await;
    assert_eq!(noc.taken(), ["task-panicked raised"]);
    assert!(!health.fails() && !health.pauses(ground.clock.utc()));
    assert_eq!(*gate.told.lock(), [""; 0]);
    let (now, later) = (ground.clock.utc(), ground.clock.utc() + Duration::from_secs(60));
    assert_eq!(ground.archive.owed(NOC.into(), now, 9).await.unwrap().len(), 0);
    assert_eq!(ground.archive.owed(NOC.into(), later, 9).await.unwrap().len(), 1);
}

#[tokio::test]
async fn a_receiver_hears_of_others_that_fail_and_not_of_itself() {
    let (gate, noc, other) = (fixture::gate(), Receiver::start().await, Receiver::start().await);
    let ground = ground(&gate);
    let outfit = outfit(&[("noc", noc.address), ("other", other.address)]);
    let now = ground.clock.utc();
    let mut book = Book::new(now);
    let state = SinkState { sink: NOC.into(), detail: "x".into() };
    book.note(now, &Event::AlertSinkFailed(state));
    book.turn(now + Duration::from_secs(60));
    let notice = book.take().notices.remove(0);
    let audience = outfit.audience_of(&notice, None, now);
    assert_eq!(audience, [("webhook:other".to_owned(), now)]);
}

#[tokio::test]
async fn a_receiver_that_is_taken_away_fails_no_longer() {
    let (gate, noc) = (fixture::gate(), Receiver::start().await);
    let (ground, with) = (ground(&gate), outfit(&[("noc", noc.address)]));
    owe(&ground, &with, &[Event::StoreFailed(trouble())]).await;
    noc.answers("store-failing", 503);
    let (_, health) = rounds::run(&ground, &with, NOC.into(), Health::default()).await;
    let mut desk = Desk::new(ground.clone(), siren(None).1);
    desk.health.insert(NOC.into(), health);
    for well in ["webhook:well", "webhook:too"] {
        desk.health.insert(well.into(), Health::default());
    }
    desk.trim(&outfit(&[]), ground.clock.utc()).await;
    assert!(desk.health.is_empty());
    assert_eq!(*gate.told.lock(), ["alert-sink-failed", "alert-sink-recovered"]);
}

#[tokio::test]
async fn what_is_held_back_goes_before_what_is_urgent_about_the_same() {
    let gate = fixture::gate();
    let archive = &gate.admin.archive;
    let (now, morning) = (Timestamp::from_millis(1_000), Timestamp::from_millis(9_000_000));
    let hop = || NextHopState { next_hop: "mx:25".into(), detail: "x".into() };
    let mut book = Book::new(now);
    for event in [Event::TaskPanicked(trouble()), Event::NextHopDown(hop())] {
        book.note(now, &event);
    }
    book.turn(now + Duration::from_secs(5));
    book.note(now, &Event::NextHopUp(hop()));
    book.turn(now + Duration::from_secs(60));
    archive.keep(Arc::new(Batch { alarm: book.take(), ..Batch::default() })).await.unwrap();
    let pending = archive.pending_alerts(now).await.unwrap().unrouted;
    let names: Vec<_> =
        pending.iter().map(|one| (one.notice.alert.kind.name(), one.notice.why.name())).collect();
    let of_the_hop = "next-hop-down";
    let expected = [("task-panicked", "raised"), (of_the_hop, "raised"), (of_the_hop, "resolved")];
    assert_eq!(names, expected);
    for (one, at) in pending.into_iter().zip([morning, morning, now]) {
        let (number, alert) = (one.number, one.notice.alert.id);
        let sinks = vec![(NOC.to_owned(), at), ("email".to_owned(), morning)];
        archive.route(vec![Route { number, alert, tenant: None, sinks }]).await.unwrap();
    }
    let owed = archive.owed(NOC.into(), now, 9).await.unwrap();
    let whys: Vec<_> = owed.iter().map(|one| one.notice.why.name()).collect();
    assert_eq!(whys, ["raised", "resolved"]);
    assert!(owed.iter().all(|one| one.notice.alert.kind.name() == of_the_hop));
    assert_eq!(archive.owed("email".into(), now, 9).await.unwrap().len(), 0);
}
