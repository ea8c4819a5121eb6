//! The way to a next hop, against scripted servers over real TCP.

use super::{
    DeliverError, Deliverer, Handover, HopState, HostSettings, RecipientAnswer, Settings,
    SmarthostSettings, Text, TlsMode, Transaction, Verdict,
};
use crate::{
    clock::Clock,
    event::{Event, Events, Listener},
    smtp::{BodyType, MailRequest, RcptRequest},
    spool::{self, Body, Spool},
    types::{Secret, Timestamp},
};
use bytes::{Bytes, BytesMut};
use parking_lot::Mutex;
use std::{sync::Arc, time::Duration};
use tokio::{
    io::{AsyncBufReadExt, AsyncRead, AsyncWrite, AsyncWriteExt, BufStream},
    net::TcpListener,
    sync::watch,
};

/// A server that plays one script for each connection, in order of acceptance; further connections are closed at once.
///
/// Lines of a script: `> reply`, `< prefix of the line that must come`, `text` (reads up to the final dot), `part` (reads
/// one line of text), `tls` (shakes hands), `close`, and the words of [`expand`]. At its end a script reads until the
/// client closes.
struct Hop {
    port: u16,
    seen: Arc<Mutex<Seen>>,
    closed: watch::Receiver<usize>,
}

#[derive(Default)]
struct Seen {
    accepted: usize,
    texts: Vec<String>,
    wrong: Vec<String>,
}

const OFFER: &str = "250-hop|250-PIPELINING|250-8BITMIME|250-DSN|250 SIZE 10000000";

fn expand(word: &str) -> Option<String> {
    Some(match word {
        "hello" => format!("> 220 hop\n< EHLO gate.example\n> {OFFER}"),
        "hello slowly" => String::from("> 220 hop\n< EHLO gate.example\n> 250 hop"),
        "envelope" => String::from(
            "< MAIL FROM:<s@a.example>\n< RCPT TO:<r1@b.example>\n> 250 2.1.0 ok\n> 250 2.1.5 ok",
        ),
        "data" => String::from("< DATA\n> 354 go\ntext"),
        "message" => String::from("envelope\ndata\n> 250 2.0.0 queued"),
        _ => return None,
    })
}

fn steps(script: &str) -> Vec<String> {
    let lines = script.lines().map(str::trim).filter(|line| !line.is_empty());
    lines
        .flat_map(|line| expand(line).map_or_else(|| vec![line.to_owned()], |more| steps(&more)))
        .collect()
}

trait Wire: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Wire for T {}

impl Hop {
    async fn start(scripts: &[&str]) -> Self {
        Self::start_with(scripts, None).await
    }

    async fn start_with(scripts: &[&str], tls: Option<tokio_rustls::TlsAcceptor>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let scripts: Vec<Vec<String>> = scripts.iter().map(|script| steps(script)).collect();
        let seen = Arc::new(Mutex::new(Seen::default()));
        let (ended, closed) = watch::channel(0);
        tokio::spawn(serve(listener, scripts, Arc::clone(&seen), tls, Arc::new(ended)));
        Self { port, seen, closed }
    }

    fn settings(&self) -> HostSettings {
        HostSettings {
            host: String::from("127.0.0.1"),
            port: self.port,
            priority: 10,
            weight: 1,
            tls: TlsMode::None,
            verify: true,
            tls_name: None,
            tls_ca: None,
            auth: None,
            source: None,
            connections_max: 4,
        }
    }

    /// Checks what the scripts saw; returns how many connections came and all texts.
    #[track_caller]
    fn report(&self) -> (usize, Vec<String>) {
        let seen = self.seen.lock();
        assert!(seen.wrong.is_empty(), "{:?}", seen.wrong);
        (seen.accepted, seen.texts.clone())
    }

    /// Waits until so many connections have ended.
    async fn ended(&self, count: usize) {
        self.closed.clone().wait_for(|&closed| closed >= count).await.unwrap();
    }
}

async fn serve(
    listener: TcpListener,
    scripts: Vec<Vec<String>>,
    seen: Arc<Mutex<Seen>>,
    tls: Option<tokio_rustls::TlsAcceptor>,
    ended: Arc<watch::Sender<usize>>,
) {
    let mut scripts = scripts.into_iter();
    while let Ok((stream, _)) = listener.accept().await {
        seen.lock().accepted += 1;
        let (script, seen) = (scripts.next().unwrap_or_default(), Arc::clone(&seen));
        let (tls, ended) = (tls.clone(), Arc::clone(&ended));
        tokio::spawn(async move {
            if let Err(wrong) = play(Box::new(stream), &script, &seen, tls).await {
                seen.lock().wrong.push(wrong);
            }
            ended.send_modify(|count| *count += 1);
        });
    }
}

async fn play(
    stream: Box<dyn Wire>,
    script: &[String],
    seen: &Mutex<Seen>,
    tls: Option<tokio_rustls::TlsAcceptor>,
) -> Result<(), String> {
    let mut stream = BufStream::new(stream);
    for step in script {
        match step.split_once(' ').unwrap_or((step, "")) {
            (">", reply) => {
                let reply = reply.replace('|', "\r\n") + "\r\n";
                // The client may have gone already; the next step notices.
                let _ = stream.write_all(reply.as_bytes()).await;
                let _ = stream.flush().await;
            }
            ("<", wanted) => {
                let line = read_line(&mut stream).await;
                if !line.starts_with(wanted) || line.is_empty() {
                    return Err(format!("wanted {wanted:?}, got {line:?}"));
                }
            }
            ("part", _) => drop(read_line(&mut stream).await),
            ("text", _) => {
                let text = read_text(&mut stream).await;
                seen.lock().texts.push(text);
            }
            ("tls", _) => {
                let shake = tls.as_ref().unwrap().accept(stream.into_inner());
                let Ok(protected) = shake.await else { return Ok(()) };
                stream = BufStream::new(Box::new(protected));
            }
            ("close", _) => return Ok(()),
            ("gone", _) => {
                let line = read_line(&mut stream).await;
                return if line.is_empty() {
                    Ok(())
                } else {
                    Err(format!("wanted the end, got {line:?}"))
                };
            }
            other => panic!("no such step: {other:?}"),
        }
    }
    if script.is_empty() {
        return Ok(());
    }
    while !read_line(&mut stream).await.is_empty() {}
    Ok(())
}

async fn read_line(stream: &mut BufStream<Box<dyn Wire>>) -> String {
    let mut line = Vec::new();
    let _ = stream.read_until(b'\n', &mut line).await;
    String::from_utf8_lossy(&line).into_owned()
}

/// The text up to the final dot; what came, if the end comes before it.
async fn read_text(stream: &mut BufStream<Box<dyn Wire>>) -> String {
    let mut text = String::new();
    loop {
        let line = read_line(stream).await;
        if line == ".\r\n" || line.is_empty() {
            return text;
        }
        text.push_str(&line);
    }
}

fn settings(hosts: Vec<HostSettings>) -> SmarthostSettings {
    let second = Duration::from_secs(1);
    SmarthostSettings {
        hostname: "gate.example".parse().unwrap(),
        hosts,
        timeout_connect: 5 * second,
        timeout_tls: 5 * second,
        timeout_command: 5 * second,
        timeout_data: 5 * second,
        timeout_final: 5 * second,
        timeout_after_dot: 20 * second,
        idle_max: 60 * second,
        messages_per_connection_max: 100,
        breaker_failures: 3,
        breaker_wait: 60 * second,
        breaker_wait_max: 60 * second,
        probe_every: 60 * second,
    }
}

fn deliverer_with(settings: SmarthostSettings) -> Deliverer {
    let clock = Clock::start(Timestamp::EPOCH);
    Deliverer::new(Settings::Smarthost(settings), clock, Events::default()).unwrap()
}

fn deliverer(hops: &[&Hop]) -> Deliverer {
    deliverer_with(settings(hops.iter().map(|hop| hop.settings()).collect()))
}

fn mail() -> MailRequest {
    let sender = crate::types::ReversePath::Mailbox("s@a.example".parse().unwrap());
    let (size, body, ret, envid, auth) = (None, None, None, None, None);
    MailRequest { sender, size, body, smtputf8: false, ret, envid, auth }
}

fn rcpts(numbers: &[u8]) -> Vec<RcptRequest> {
    let address = |number| format!("r{number}@b.example").parse().unwrap();
    let rcpt = |&number| RcptRequest { address: address(number), notify: None, orcpt: None };
    numbers.iter().map(rcpt).collect()
}

fn codes(answers: &[RecipientAnswer]) -> Vec<u16> {
    answers.iter().map(|answer| answer.reply.code()).collect()
}

const BODY: &str = "Subject: x\r\nX-Secret: y\r\n\r\n..dotted\r\n";

async fn hand_over(transaction: Transaction) -> Handover {
    let body = Body::from(Bytes::from_static(BODY.as_bytes()));
    let head = Bytes::from_static(b"Received: here\r\n");
    transaction.send(Text { head, body: &body, cuts: vec![] }).await
}

/// One message to one recipient.
async fn send_one(deliverer: &Deliverer) -> (Vec<u16>, Verdict) {
    let mut transaction = deliverer.begin(mail());
    let answers = transaction.recipients(&rcpts(&[1])).await;
    (codes(&answers), hand_over(transaction).await.verdict)
}

/// The verdict in short: its name and the code, if it has one.
fn short(verdict: &Verdict) -> String {
    match verdict {
        Verdict::Accepted(reply) => format!("accepted {}", reply.code()),
        Verdict::Refused(reply) => format!("refused {}", reply.code()),
        Verdict::Unknown(_) => String::from("unknown"),
        Verdict::Unavailable(_) => String::from("unavailable"),
        Verdict::RecipientLost(reply) => format!("lost {}", reply.code()),
        Verdict::ExtensionMissing(name) => format!("missing {name}"),
    }
}

/// Sends `messages` messages to one recipient each and compares the verdicts and the connections that were made.
async fn check(scripts: &[&str], verdicts: &[&str], connections: usize) {
    let hop = Hop::start(scripts).await;
    let deliverer = deliverer(&[&hop]);
    for (at, expected) in verdicts.iter().enumerate() {
        let (_, verdict) = send_one(&deliverer).await;
        assert_eq!(&short(&verdict), expected, "message {at} of {scripts:?}: {verdict:?}");
    }
    assert_eq!(hop.report().0, connections, "{scripts:?}");
}

#[tokio::test]
async fn a_message_passes_pipelined_and_connections_are_used_again() {
    let hop = Hop::start(&["hello\nmessage\nmessage\nmessage"]).await;
    let deliverer = deliverer(&[&hop]);
    for _ in 0..3 {
        let mut transaction = deliverer.begin(mail());
        assert_eq!(codes(&transaction.recipients(&rcpts(&[1])).await), [250]);
        let handover = hand_over(transaction).await;
        assert_eq!(short(&handover.verdict), "accepted 250");
        assert!(handover.took.is_some());
        assert_eq!(handover.next_hop.as_deref(), Some(format!("127.0.0.1:{}", hop.port).as_str()));
    }
    let text = format!("Received: here\r\n{BODY}");
    assert_eq!(hop.report(), (1, vec![text; 3]));
}

#[tokio::test]
async fn a_hop_without_pipelining_gets_its_commands_one_by_one() {
    let script =
        "hello slowly\n< MAIL\n> 250 ok\n< RCPT\n> 250 ok\n< DATA\n> 354 go\ntext\n> 250 ok";
    check(&[script], &["accepted 250"], 1).await;
}

#[tokio::test]
async fn the_hops_own_answers_are_passed_back() {
    let three = "hello\n< MAIL\n< RCPT\n< RCPT\n< RCPT\n> 250 ok\n> 250 2.1.5 ok\n> 550 5.1.1 who\n> 450 4.2.1 later\ndata\n> 250 ok";
    let hop = Hop::start(&[three]).await;
    let deliverer = deliverer(&[&hop]);
    let mut transaction = deliverer.begin(mail());
    let answers = transaction.recipients(&rcpts(&[1, 2, 3])).await;
    assert_eq!(codes(&answers), [250, 550, 450]);
    assert_eq!(answers[1].reply.to_string(), "550 5.1.1 who");
    assert!(answers.iter().all(|answer| answer.from_next_hop));
    assert_eq!(short(&hand_over(transaction).await.verdict), "accepted 250");
    hop.report();
}

#[tokio::test]
async fn a_refused_mail_is_given_to_every_recipient_and_the_connection_is_reset() {
    let refused = "hello\n< MAIL\n< RCPT\n< RCPT\n> 550 5.7.1 no\n> 503 x\n> 503 x\n< RSET\n> 250 ok\nmessage";
    // The next group begins with RSET in the same write, so its reply comes with the envelope's.
    let refused = refused.replace(
        "< RSET\n> 250 ok\nmessage",
        "< RSET\n< MAIL\n< RCPT\n> 250 ok\n> 250 ok\n> 250 ok\ndata\n> 250 ok",
    );
    let hop = Hop::start(&[&refused]).await;
    let deliverer = deliverer(&[&hop]);
    let mut transaction = deliverer.begin(mail());
    assert_eq!(codes(&transaction.recipients(&rcpts(&[1, 2])).await), [550, 550]);
    assert_eq!(codes(&transaction.recipients(&rcpts(&[3])).await), [550]);
    transaction.abort();
    assert_eq!(short(&send_one(&deliverer).await.1), "accepted 250");
    assert_eq!(hop.report().0, 1);
}

#[tokio::test]
async fn what_the_hop_says_to_the_text_is_the_verdict() {
    check(
        &["hello\nenvelope\ndata\n> 554 5.6.0 spam\nmessage"],
        &["refused 554", "accepted 250"],
        1,
    )
    .await;
    check(
        &["hello\nenvelope\ndata\n> 421 4.3.2 bye", "hello\nmessage"],
        &["refused 451", "accepted 250"],
        2,
    )
    .await;
    let at_data = "hello\nenvelope\n< DATA\n> 451 4.3.0 later\n< RSET\n< MAIL\n< RCPT\n> 250 r\n> 250 ok\n> 250 ok\ndata\n> 250 ok";
    check(&[at_data], &["refused 451", "accepted 250"], 1).await;
}

#[tokio::test]
async fn after_the_final_dot_silence_is_unknown_and_never_tried_again() {
    for end in ["close", "> hello", "> 354 more", "> 250-ok|251 ok", "> 250-half\nclose"] {
        check(&[&format!("hello\nenvelope\ndata\n{end}"), "hello\nmessage"], &["unknown"], 1).await;
    }
}

#[tokio::test]
async fn before_the_final_dot_a_lost_connection_is_replaced_once() {
    let lost = "hello\nenvelope\n< DATA\nclose";
    check(&[lost, "hello\nmessage"], &["accepted 250"], 2).await;
    check(&["hello\nenvelope\n< DATA\n> 421 bye", "hello\nmessage"], &["accepted 250"], 2).await;
    check(&["hello\nenvelope\n< DATA\n> 250 what", "hello\nmessage"], &["accepted 250"], 2).await;
    check(&["hello\nclose", "hello\nmessage"], &["accepted 250"], 2).await;
    check(&["hello\n< MAIL\n> 250 ok\nclose", "hello\nmessage"], &["accepted 250"], 2).await;
    // The connection that was held counts as one that had waited, then there are a fresh one and one more.
    check(&[lost, lost, lost, "hello\nmessage"], &["unavailable"], 3).await;
}

#[tokio::test]
async fn too_many_replies_put_a_connection_out_of_use() {
    // A 250 that comes with the 354 must not be taken for the answer to the final dot.
    let early = "hello\nenvelope\n< DATA\n> 354 go|250 2.0.0 queued\ntext";
    check(&[early, early, early], &["unavailable"], 2).await;
    let after = "hello\nenvelope\ndata\n> 250 ok|250 again";
    check(&[after, "hello\nmessage"], &["accepted 250", "accepted 250"], 2).await;
    let envelope = "hello\n< MAIL\n< RCPT\n> 250 ok|250 ok|250 more\ngone";
    check(&[envelope, "hello\nmessage"], &["accepted 250"], 2).await;
}

#[tokio::test]
async fn a_connection_that_the_hop_closed_while_idle_is_replaced_silently() {
    for end in
        ["close", "> 421 4.4.2 idle too long\nclose", "< MAIL\nclose", "< MAIL\n< RCPT\n> 421 bye"]
    {
        let first = format!("hello\nmessage\n{end}");
        check(&[&first, "hello\nmessage"], &["accepted 250", "accepted 250"], 2).await;
    }
}

#[tokio::test]
async fn a_host_that_cannot_be_used_is_passed_over() {
    for bad in [
        "> 421 4.3.2 no",
        "> 450 later",
        "> 554 no",
        "> 220 hop\n< EHLO\n> 500 what",
        "close",
        "> nonsense",
    ] {
        let (bad, good) = (Hop::start(&[bad]).await, Hop::start(&["hello\nmessage"]).await);
        let second = HostSettings { priority: 20, ..good.settings() };
        let deliverer = deliverer_with(settings(vec![bad.settings(), second]));
        let (answers, verdict) = send_one(&deliverer).await;
        assert_eq!((answers, short(&verdict).as_str()), (vec![250], "accepted 250"));
        assert_eq!((bad.report().0, good.report().0), (1, 1));
        assert!(deliverer.health()[0].last_error.is_some());
    }
}

#[tokio::test]
async fn without_a_host_every_recipient_is_deferred() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    drop(listener);
    let hop = Hop::start(&[]).await;
    let deliverer = deliverer_with(settings(vec![HostSettings { port, ..hop.settings() }]));
    let mut transaction = deliverer.begin(mail());
    let answers = transaction.recipients(&rcpts(&[1, 2])).await;
    assert_eq!(codes(&answers), [451, 451]);
    assert!(answers.iter().all(|a| !a.from_next_hop && a.reply.status() == Some("4.4.1")));
    assert!(matches!(
        Deliverer::new(
            Settings::Smarthost(settings(vec![])),
            Clock::start(Timestamp::EPOCH),
            Events::default()
        ),
        Err(DeliverError::NoHost)
    ));
}
