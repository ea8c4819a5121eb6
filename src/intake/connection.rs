//! The pump of one connection: bytes in, bytes out, deadlines, drain. What the session asks goes to [`Sender`].

use super::{
    Door, EarlyTalkers, Gate, ListenerKind, Phase,
    transaction::{Abandon, Sender},
};
use crate::{
    event::{ConnectionRefused, Event, SessionClosed, SessionOpened, TlsFailed, TlsStarted},
    net::{HandshakeError, Stream},
    rules::identity::Proxied,
    smtp::{
        proxy_header,
        server::{Answer, Ask, CloseReason, EndReason, Input, Output, Session, Start},
    },
    types::{ClientIp, SessionId, Timestamp},
};
use bytes::BytesMut;
use std::{
    cell::RefCell,
    future::{Future, poll_fn},
    io,
    net::SocketAddr,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
    time::Duration,
};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWriteExt, ReadBuf},
    sync::watch,
    time::Sleep,
};

/// Serves one accepted connection to its end.
pub async fn serve(
    gate: Arc<Gate>,
    door: Arc<Door>,
    stream: Stream,
    remote: SocketAddr,
    phase: watch::Receiver<Phase>,
) {
    let Some(arrival) = Box::pin(arrive(&gate, &door, stream, remote)).await else { return };
    let id = gate.ids.session();
    let began = gate.clock.now();
    let peer = gate.policy.load().row_of_peer(remote.ip()).map(|row| row.name.clone());
    let opened =
        SessionOpened { session: id.clone(), listener: door.settings.name.clone(), remote, peer };
    gate.events.tell(began, &Event::SessionOpened(opened));
    let mut end = SessionEnd { gate: &gate, door: &door, id: id.clone(), began, reason: "cut" };
    end.reason = Pump::new(&gate, &door, arrival, id, phase).run().await;
}

/// Tells that a session ended, also when its task is cut off.
struct SessionEnd<'a> {
    gate: &'a Gate,
    door: &'a Door,
    id: SessionId,
    began: Timestamp,
    reason: &'static str,
}

impl Drop for SessionEnd<'_> {
    fn drop(&mut self) {
        let now = self.gate.clock.now();
        let closed = SessionClosed {
            session: self.id.clone(),
            listener: self.door.settings.name.clone(),
            reason: self.reason,
            lasted: now.since(self.began),
        };
        self.gate.events.tell(now, &Event::SessionClosed(closed));
    }
}

/// A connection that was let in.
struct Arrival {
    stream: Stream,
    remote: SocketAddr,
    proxied: Proxied,
    _place: super::places::Place,
}

/// Finds a place, reads the PROXY header and starts implicit TLS, as the listener wants; tells why where it does not work out.
async fn arrive(
    gate: &Gate,
    door: &Arc<Door>,
    mut stream: Stream,
    remote: SocketAddr,
) -> Option<Arrival> {
    let refuse = |reason| {
        let refused = ConnectionRefused { listener: door.settings.name.clone(), remote, reason };
        gate.events.tell(gate.clock.now(), &Event::ConnectionRefused(refused));
    };
    let mut proxied = Proxied::Absent;
    if door.settings.proxy_protocol {
        match read_proxy_header(gate, &mut stream, remote).await {
            Some(said) => proxied = said,
            None => {
                refuse("proxy-header");
                return None;
            }
        }
    }
    let client = ClientIp::new(proxied.client().unwrap_or(remote.ip()));
    let bits = gate.policy.load().ipv6_prefix_bits;
    let place = match door.places.take(client.prefix(bits)) {
        Ok(place) => place,
        Err(reason) => {
            refuse(reason);
            let _gone =
                stream.write_all(b"421 4.7.0 too many connections, try again later\r\n").await;
            return None;
        }
    };
    let stream = match (door.settings.kind, &door.tls) {
        (ListenerKind::Submissions, Some(tls)) => {
            stream.into_tls(tls, door.settings.client_certificates).await
        }
        // The configuration is not accepted like this; if it were, nothing may go in the clear.
        (ListenerKind::Submissions, None) => {
            Err(io::Error::from(io::ErrorKind::Unsupported).into())
        }
        _ => Ok(stream),
    };
    let failed = |error| {
        tell_tls_failed(gate, door, (None, remote), &error);
        refuse("tls");
    };
    let mut stream = stream.map_err(failed).ok()?;
    if talks_early(door, &mut stream).await {
        refuse("early-talker");
        let _gone = stream.write_all(b"554 5.5.1 wait for the banner\r\n").await;
        let _gone = stream.shutdown().await;
        return None;
    }
    Some(Arrival { stream, remote, proxied, _place: place })
}

/// True of a client that says something before its banner. A program that sends mail waits for it; one that was tricked into
/// speaking to us, or that sends everything blindly, does not. Without a delay only what is here already is seen.
async fn talks_early(door: &Door, stream: &mut Stream) -> bool {
    if door.settings.early_talkers == EarlyTalkers::Allow {
        return false;
    }
    let heard = tokio::time::timeout(door.settings.banner_delay, stream.read_u8()).await;
    matches!(heard, Ok(Ok(_)))
}

fn tell_tls_failed(
    gate: &Gate,
    door: &Door,
    (session, remote): (Option<SessionId>, SocketAddr),
    error: &HandshakeError,
) {
    let failed = TlsFailed {
        session,
        listener: door.settings.name.clone(),
        remote,
        reason: error.failure.name(),
        detail: error.to_string(),
    };
    gate.events.tell(gate.clock.now(), &Event::TlsFailed(failed));
}

/// Reads a PROXY header from a peer that may send one; none: it may not, or sent none.
async fn read_proxy_header(
    gate: &Gate,
    stream: &mut Stream,
    remote: SocketAddr,
) -> Option<Proxied> {
    gate.policy.load().row_of_peer(remote.ip()).filter(|row| row.proxy)?;
    let header = tokio::time::timeout(PROXY_HEADER_TIME_MAX, take_proxy_header(stream));
    let source = header.await.ok()??;
    Some(source.map_or(Proxied::Nobody, |client| Proxied::Client(client.ip())))
}

/// Takes the header and not an octet more: what follows may be a TLS handshake.
async fn take_proxy_header(stream: &mut Stream) -> Option<Option<SocketAddr>> {
    let mut octets = vec![0; proxy_header::HEADER_BYTES_MAX];
    let mut taken = 0;
    loop {
        let seen = taken + stream.peek(&mut octets[taken..]).await.ok().filter(|&more| more > 0)?;
        let (end, source) = match proxy_header::parse(&octets[..seen]) {
            Ok(proxy_header::Parsed::Header { consumed, source }) => (consumed, Some(source)),
            Ok(proxy_header::Parsed::Incomplete) => (seen, None),
            Err(_) => return None,
        };
        stream.read_exact(&mut octets[taken..end]).await.ok()?;
        taken = end;
        if source.is_some() {
            return source;
        }
    }
}

/// The state of one running connection.
struct Pump<'a> {
    gate: &'a Arc<Gate>,
    /// Missing only after a handshake failed.
    stream: Option<Stream>,
    session: Session,
    sender: Sender<'a>,
    remote: SocketAddr,
    door: &'a Arc<Door>,
    out: BytesMut,
    deadline: Option<Timestamp>,
    timer: Option<(Timestamp, Pin<Box<Sleep>>)>,
    drain: Pin<Box<dyn Future<Output = ()> + Send>>,
    draining: bool,
    _place: super::places::Place,
}

/// Why a wait ended.
enum Wake {
    /// Bytes were read and handed to the session.
    Read,
    /// The peer closed its side.
    Closed,
    /// A deadline may have come.
    Timer,
    /// The server is stopping.
    Drain,
    /// The connection broke.
    Broken,
}

impl<'a> Pump<'a> {
    fn new(
        gate: &'a Arc<Gate>,
        door: &'a Arc<Door>,
        arrival: Arrival,
        id: SessionId,
        phase: watch::Receiver<Phase>,
    ) -> Self {
        let Arrival { stream, remote, proxied, _place } = arrival;
        let settings = Arc::new(gate.session_settings(door, remote.ip(), proxied));
        let start = Start { tls: stream.tls().is_some(), id: id.clone() };
        let mut pump = Self {
            gate,
            session: Session::new(settings, start, gate.clock.now()),
            sender: Sender::new(gate, door, id, remote, proxied),
            remote,
            stream: Some(stream),
            door,
            out: BytesMut::new(),
            deadline: None,
            timer: None,
            drain: Box::pin(drained(phase)),
            draining: false,
            _place,
        };
        pump.note_tls();
        pump
    }

    /// Takes note of what was agreed on and shown in the handshake, if there was one.
    fn note_tls(&mut self) {
        let (Some(stream), Some(tls)) = (&self.stream, &self.door.tls) else { return };
        let Some(facts) = stream.tls() else { return };
        let certificate = tls.client_certificate(stream);
        let started = TlsStarted {
            session: self.session.id().clone(),
            listener: self.door.settings.name.clone(),
            version: facts.version,
            cipher: facts.cipher,
            resumed: facts.resumed,
            server_name: facts.server_name.map(str::to_owned),
            certificate: certificate.clone(),
        };
        self.gate.events.tell(self.gate.clock.now(), &Event::TlsStarted(Box::new(started)));
        self.sender.tls_begins(certificate);
    }

    /// Runs to the end of the connection and says why it ended.
    async fn run(mut self) -> &'static str {
        loop {
            if let Some(reason) = self.work_off().await {
                return reason;
            }
            let wake = self.wait().await;
            let now = self.gate.clock.now();
            match wake {
                Wake::Read => {}
                Wake::Closed | Wake::Broken => self.session.handle(Input::PeerClosed, now),
                Wake::Timer => self.handle_timer(now).await,
                Wake::Drain => {
                    self.draining = true;
                    self.session.handle(Input::Drain, now);
                }
            }
        }
    }

    /// Does all that the session wants; returns why the connection ends, if it does.
    async fn work_off(&mut self) -> Option<&'static str> {
        while let Some(output) = self.session.poll_output() {
            match output {
                Output::Send(bytes) if self.out.is_empty() => self.out = bytes,
                Output::Send(bytes) => self.out.extend_from_slice(&bytes),
                Output::Deadline(moment) => self.deadline = Some(moment),
                Output::Ask(ask) => {
                    // What is due must not wait for what the next answer takes; a failure shows at the next write.
                    let _shows_later = self.flush().await;
                    let answer = Box::pin(self.answer(ask)).await;
                    self.session.handle(Input::Answer(answer), self.gate.clock.now());
                }
                Output::BodyBegins => self.sender.body_begins(),
                Output::Body(piece) => self.sender.body(piece).await,
                Output::TransactionEnded(reason) => self.end(reason).await,
                Output::StartTls => {
                    if let Err(reason) = Box::pin(self.start_tls()).await {
                        return Some(reason);
                    }
                }
                Output::Close(reason) => return Some(self.close(reason).await),
            }
        }
        if self.flush().await.is_err() {
            self.session.handle(Input::PeerClosed, self.gate.clock.now());
            return Box::pin(self.work_off_broken()).await;
        }
        None
    }

    /// After a failed write only the end of the transaction matters; nothing can be said to the peer any more.
    async fn work_off_broken(&mut self) -> Option<&'static str> {
        while let Some(output) = self.session.poll_output() {
            if let Output::TransactionEnded(reason) = output {
                self.end(reason).await;
            }
        }
        Some("io")
    }

    async fn answer(&mut self, ask: Ask) -> Answer {
        let facts = self.sender.wire_facts(&self.session);
        match ask {
            Ask::Login(request) => Answer::Login(self.sender.login(request, &facts).await),
            Ask::Scram { login } => Answer::Scram(self.sender.scram_parameters(&login, &facts)),
            Ask::Mail(request) => Answer::Mail(self.sender.mail(request, facts).await),
            Ask::Recipients(requests) => Answer::Recipients(self.sender.recipients(requests).await),
            Ask::Text => Answer::Text(self.sender.text().await),
            Ask::Message { size_bytes } => Answer::Message(self.sender.message(size_bytes).await),
        }
    }

    async fn end(&mut self, reason: EndReason) {
        let how = match reason {
            EndReason::TooLarge => Abandon::TooLarge,
            EndReason::LineTooLong => Abandon::LineTooLong,
            EndReason::Malformed => Abandon::Malformed,
            EndReason::TooLong => Abandon::TooLong,
            EndReason::Reset | EndReason::Quit | EndReason::Closed => Abandon::ByClient,
        };
        Box::pin(self.sender.abandon(how)).await;
    }

    async fn start_tls(&mut self) -> Result<(), &'static str> {
        self.flush().await.map_err(|_| "io")?;
        let tls = self.door.tls.as_ref().ok_or("tls")?;
        let plain = self.stream.take().ok_or("tls")?;
        let secure = plain.into_tls(tls, self.door.settings.client_certificates).await;
        let secure = secure.inspect_err(|error| {
            let whose = (Some(self.session.id().clone()), self.remote);
            tell_tls_failed(self.gate, self.door, whose, error);
        });
        self.stream = Some(secure.map_err(|_| "tls")?);
        self.note_tls();
        self.session.handle(Input::TlsReady, self.gate.clock.now());
        Ok(())
    }

    /// Sends what is due; a peer that does not read for too long counts as gone.
    async fn flush(&mut self) -> io::Result<()> {
        if self.out.is_empty() {
            return Ok(());
        }
        let Some(stream) = &mut self.stream else { return Err(io::ErrorKind::NotConnected.into()) };
        let write = async {
            stream.write_all(&self.out).await?;
            stream.flush().await
        };
        tokio::time::timeout(WRITE_TIME_MAX, write)
            .await
            .map_err(|_| io::ErrorKind::TimedOut)??;
        self.out = BytesMut::new();
        Ok(())
    }

    async fn close(&mut self, reason: CloseReason) -> &'static str {
        let _gone = self.flush().await;
        if let Some(stream) = &mut self.stream {
            let _gone = tokio::time::timeout(CLOSE_TIME_MAX, stream.shutdown()).await;
        }
        match reason {
            CloseReason::Quit => "quit",
            CloseReason::PeerClosed => "peer-closed",
            CloseReason::Timeout => "timeout",
            CloseReason::Slow => "slow",
            CloseReason::TooManyErrors => "too-many-errors",
            CloseReason::Protocol => "protocol",
            CloseReason::Drain => "drain",
        }
    }

    /// The earlier of the session's deadline and the moment at which the next hop's connection is given back.
    fn wake_at(&self) -> Option<Timestamp> {
        [self.deadline, self.sender.park_at()].into_iter().flatten().min()
    }

    async fn handle_timer(&mut self, now: Timestamp) {
        if self.sender.park_at().is_some_and(|moment| moment <= now) {
            self.sender.consider_parking(now);
        }
        if self.deadline.is_some_and(|moment| moment <= now) {
            self.deadline = None;
            self.session.handle(Input::Deadline, now);
        }
    }

    /// Makes sure that a timer runs that fires no later than `moment`. One that fires earlier is left alone: moving a timer
    /// at every command would cost more than an early wake-up now and then.
    fn set_timer(&mut self, moment: Option<Timestamp>) {
        let Some(moment) = moment else { return };
        if self.timer.as_ref().is_none_or(|(set, _)| *set > moment) {
            let wait = self.gate.clock.until(moment);
            self.timer = Some((moment, Box::pin(tokio::time::sleep(wait))));
        }
    }

    async fn wait(&mut self) -> Wake {
        self.set_timer(self.wake_at());
        poll_fn(|cx| self.poll_wake(cx)).await
    }

    fn poll_wake(&mut self, cx: &mut Context<'_>) -> Poll<Wake> {
        if !self.draining && self.drain.as_mut().poll(cx).is_ready() {
            return Poll::Ready(Wake::Drain);
        }
        // Before reading, so that a peer that always has something to say cannot put its deadlines off.
        if let Some((_, sleep)) = &mut self.timer
            && sleep.as_mut().poll(cx).is_ready()
        {
            self.timer = None;
            return Poll::Ready(Wake::Timer);
        }
        self.poll_read(cx)
    }

    /// Reads into a buffer that all connections of a thread share, so that an idle connection holds none.
    fn poll_read(&mut self, cx: &mut Context<'_>) -> Poll<Wake> {
        let Some(stream) = &mut self.stream else { return Poll::Ready(Wake::Broken) };
        SCRATCH.with_borrow_mut(|scratch| {
            let mut buffer = ReadBuf::new(scratch);
            match ready!(Pin::new(stream).poll_read(cx, &mut buffer)) {
                Err(_) => Poll::Ready(Wake::Broken),
                Ok(()) if buffer.filled().is_empty() => Poll::Ready(Wake::Closed),
                Ok(()) => {
                    self.session.handle(Input::Bytes(buffer.filled()), self.gate.clock.now());
                    Poll::Ready(Wake::Read)
                }
            }
        })
    }
}

/// Ends when the server begins to stop (or is gone).
async fn drained(mut phase: watch::Receiver<Phase>) {
    let _gone = phase.wait_for(|&phase| phase != Phase::Serving).await;
}

thread_local! {
    static SCRATCH: RefCell<Box<[u8]>> = RefCell::new(vec![0; READ_BYTES_MAX].into_boxed_slice());
}

/// The most that one read takes.
const READ_BYTES_MAX: usize = 64 * 1024;
/// Wait for a whole PROXY header.
const PROXY_HEADER_TIME_MAX: Duration = Duration::from_secs(5);
/// Wait for a peer that does not read our replies.
const WRITE_TIME_MAX: Duration = Duration::from_secs(300);
/// Wait for a TLS connection to close in order.
const CLOSE_TIME_MAX: Duration = Duration::from_secs(5);
