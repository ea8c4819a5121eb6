//! One connection to a next hop: greeting, STARTTLS, AUTH, command groups, the text.
//!
//! The task that needs it drives it: there is no task, channel or lock of its own. It never decides where mail goes or
//! whether a failure is tried again; it says how far it came ([`Progress`]).

use super::super::{HostSettings, SmarthostSettings, Text, TlsMode};
use crate::{
    clock,
    net::connect::{ClientStream, Network, Target, TlsClient},
    smtp::{
        Extensions, Reply,
        client::{
            Answers, Group, RawReply, ReplyError, ReplyParser, checked, parse_ehlo, unexpected,
        },
    },
};
use base64::{Engine, engine::general_purpose::STANDARD as BASE64};
use bytes::BytesMut;
use std::{
    future::Future,
    io,
    pin::Pin,
    task::{Context, Poll, Waker},
    time::{Duration, Instant},
};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf},
    time::timeout,
};

/// Why a connection is of no more use.
#[derive(Debug, thiserror::Error)]
pub(super) enum Failure {
    #[error("{0} failed: {1}")]
    Io(&'static str, io::Error),
    #[error("{0} took longer than {1:?}")]
    Stalled(&'static str, Duration),
    #[error("the next hop closed the connection instead of an answer to {0}")]
    Closed(&'static str),
    #[error("{0}")]
    Reply(#[from] ReplyError),
    #[error("the next hop refused {0}: {1}")]
    Refused(&'static str, Reply),
    #[error("the next hop does not offer {0}")]
    NotOffered(&'static str),
    /// The hop refused the text before its end.
    #[error("the next hop refused the text: {0}")]
    TextRefused(Reply),
    /// Our own spool.
    #[error("the body cannot be read: {0}")]
    Body(io::Error),
    /// The final dot may not be sent any more.
    #[error("the time to send the text was over")]
    Overdue,
}

/// How far a text came.
#[derive(Debug, Default)]
pub(super) struct Progress {
    /// When the first octet of the final dot may have been sent.
    pub(super) dot_sent: Option<Instant>,
    /// DATA was answered 354.
    pub(super) text_begun: bool,
}

/// An open connection.
pub(super) struct Connection {
    stream: ClientStream,
    input: BytesMut,
    output: Vec<u8>,
    parser: ReplyParser,
    waits: Waits,
    pub(super) extensions: Extensions,
    /// Messages that went over it.
    pub(super) uses: u32,
    pub(super) idle_since: Instant,
    envelope: Envelope,
}

/// What the hop has of an envelope.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Envelope {
    /// None.
    Empty,
    /// Of the present transaction.
    Ours,
    /// Of a transaction that is over: RSET goes before the next MAIL.
    Stale,
}

#[derive(Debug, Clone, Copy)]
struct Waits {
    connect: Duration,
    tls: Duration,
    command: Duration,
    data: Duration,
    last: Duration,
}

impl Connection {
    /// Connects, greets, protects and logs in, as the host's settings want it.
    pub(super) async fn open(
        network: &Network,
        settings: &SmarthostSettings,
        host: &HostSettings,
        tls: Option<&TlsClient>,
    ) -> Result<Self, Failure> {
        let waits = Waits::of(settings);
        let target = Target { host: &host.host, port: host.port, source: host.source };
        let stream = network.connect(target, waits.connect).await;
        let stream = stream.map_err(|error| Failure::Io("connecting", error))?;
        let mut connection = Self::new(stream, waits);
        if host.tls == TlsMode::Implicit {
            connection = connection.protect(host, tls).await?;
        }
        connection.expect(220, "the connection").await?;
        connection.greet(settings).await?;
        if connection.wants_starttls(host)? {
            connection = connection.start_tls(settings, host, tls).await?;
        }
        connection.log_in(host).await?;
        Ok(connection)
    }

    fn new(stream: ClientStream, waits: Waits) -> Self {
        Self {
            stream,
            input: BytesMut::new(),
            output: Vec::new(),
            parser: ReplyParser::default(),
            waits,
            extensions: Extensions::default(),
            uses: 0,
            idle_since: clock::steady_now(),
            envelope: Envelope::Empty,
        }
    }

    async fn greet(&mut self, settings: &SmarthostSettings) -> Result<(), Failure> {
        self.write_command(format!("EHLO {}\r\n", settings.hostname).as_bytes()).await?;
        let reply = self.expect(250, "EHLO").await?;
        self.extensions = parse_ehlo(&reply);
        Ok(())
    }

    fn wants_starttls(&self, host: &HostSettings) -> Result<bool, Failure> {
        match host.tls {
            TlsMode::Required if !self.extensions.starttls => Err(Failure::NotOffered("STARTTLS")),
            TlsMode::Required | TlsMode::Opportunistic => Ok(self.extensions.starttls),
            TlsMode::None | TlsMode::Implicit => Ok(false),
        }
    }

    async fn start_tls(
        mut self,
        settings: &SmarthostSettings,
        host: &HostSettings,
        tls: Option<&TlsClient>,
    ) -> Result<Self, Failure> {
        self.write_command(b"STARTTLS\r\n").await?;
        let reply = checked(self.read_reply(self.waits.command, "STARTTLS").await?, "STARTTLS")?;
        if !reply.is_positive() {
            let refused = Failure::Refused("STARTTLS", reply);
            return if host.tls == TlsMode::Required { Err(refused) } else { Ok(self) };
        }
        let mut protected = self.protect(host, tls).await?;
        // RFC 3207 §4.2: what was learnt before the handshake does not count.
        protected.greet(settings).await?;
        Ok(protected)
    }

    /// Shakes hands. Plaintext that came before is an attack on what follows it (CVE-2011-0411).
    async fn protect(self, host: &HostSettings, tls: Option<&TlsClient>) -> Result<Self, Failure> {
        if !self.input.is_empty() {
            return Err(unasked("STARTTLS").into());
        }
        let (ClientStream::Plain(tcp), Some(tls)) = (self.stream, tls) else {
            return Err(Failure::NotOffered("TLS"));
        };
        let name = host.tls_name.as_deref().unwrap_or(&host.host);
        let shake = tls.handshake(name, tcp);
        let stream = within(self.waits.tls, "the TLS handshake", shake).await?;
        Ok(Self::new(ClientStream::Tls(Box::new(stream)), self.waits))
    }

    /// RFC 4954; the password goes over TLS or to this very machine only.
    async fn log_in(&mut self, host: &HostSettings) -> Result<(), Failure> {
        let Some((login, password)) = &host.auth else { return Ok(()) };
        let local = self.stream.remote().is_ok_and(|remote| remote.ip().is_loopback());
        if !self.stream.is_tls() && !local {
            return Err(Failure::NotOffered("TLS, without which the password is not sent"));
        }
        let offers = |name| self.extensions.auth.iter().any(|mechanism| mechanism == name);
        if offers("PLAIN") {
            let text = [&[0], login.as_bytes(), &[0], password.expose()].concat();
            self.write_command(format!("AUTH PLAIN {}\r\n", BASE64.encode(text)).as_bytes())
                .await?;
        } else if offers("LOGIN") {
            self.write_command(b"AUTH LOGIN\r\n").await?;
            for secret in [login.as_bytes(), password.expose()] {
                self.expect(334, "AUTH LOGIN").await?;
                self.write_command(format!("{}\r\n", BASE64.encode(secret)).as_bytes()).await?;
            }
        } else {
            return Err(Failure::NotOffered("AUTH PLAIN or LOGIN"));
        }
        self.expect(235, "AUTH").await.map(drop)
    }

    /// Exchanges a group of commands and its replies. With more replies than commands nobody knows which is whose, so that none
    /// of them counts.
    pub(super) async fn exchange(&mut self, mut group: Group) -> Result<Answers, Failure> {
        self.envelope = Envelope::Ours;
        while !group.is_done() {
            if let Some(octets) = group.next_bytes() {
                self.write_command(octets).await?;
            }
            let reply = self.read_reply(self.waits.command, "the envelope").await?;
            group.take(reply)?;
        }
        if !self.input.is_empty() {
            return Err(unasked("the envelope").into());
        }
        Ok(group.into_answers())
    }

    /// Sends DATA and the text; the answer to either.
    pub(super) async fn hand_over(
        &mut self,
        text: &Text<'_>,
        progress: &mut Progress,
    ) -> Result<Reply, Failure> {
        self.write_command(b"DATA\r\n").await?;
        let go = self.read_reply(self.waits.command, "DATA").await?;
        if go.code() != 354 {
            self.envelope = Envelope::Stale;
            let reply = checked_refusal(go, "DATA")?;
            return Ok(reply);
        }
        progress.text_begun = true;
        if let Err(failure) = self.write_text(text, progress).await {
            return Err(self.sharpen(failure, progress));
        }
        let reply = self.read_reply(self.waits.last, "the final dot").await?.into_reply();
        match reply.code() {
            300..=399 => Err(unexpected(&reply, "the final dot").into()),
            _ => {
                self.envelope = Envelope::Empty;
                Ok(reply)
            }
        }
    }

    async fn write_text(
        &mut self,
        text: &Text<'_>,
        progress: &mut Progress,
    ) -> Result<(), Failure> {
        let mut pieces = text.pieces();
        self.output.clear();
        while let Some(piece) = pieces.next().await.map_err(Failure::Body)? {
            if self.output.len() + piece.len() > OUTPUT_BYTES_MAX {
                self.write_output().await?;
            }
            if piece.len() > OUTPUT_BYTES_MAX {
                self.write(&piece, self.waits.data).await?;
            } else {
                self.output.extend_from_slice(&piece);
            }
        }
        if text.is_overdue() {
            return Err(Failure::Overdue);
        }
        self.output.extend_from_slice(b".\r\n");
        self.write_end(progress).await
    }

    async fn write_output(&mut self) -> Result<(), Failure> {
        let output = std::mem::take(&mut self.output);
        self.write(&output, self.waits.data).await?;
        self.output = output;
        self.output.clear();
        Ok(())
    }

    /// Writes what is gathered, the final dot at its end, and notes when that dot may have left. A reply that came before
    /// it is none to it, so it must not be taken for one.
    async fn write_end(&mut self, progress: &mut Progress) -> Result<(), Failure> {
        match self.overhear() {
            Overheard::Silence => {}
            Overheard::Octets => return Err(unasked("the text").into()),
            Overheard::End => return Err(Failure::Closed("the text")),
        }
        let (mut done, dot) = (0, self.output.len() - ".\r\n".len());
        while done < self.output.len() {
            let write = self.stream.write(&self.output[done..]);
            done += match within(self.waits.data, "writing the text", write).await? {
                0 => return Err(Failure::Closed("the text")),
                written => written,
            };
            if done > dot && progress.dot_sent.is_none() {
                progress.dot_sent = Some(clock::steady_now());
            }
        }
        self.output.clear();
        self.output.shrink_to(OUTPUT_BYTES_KEPT);
        within(self.waits.data, "writing the text", self.stream.flush()).await
    }

    /// Before the final dot, a hop that hangs up may have said why.
    fn sharpen(&mut self, failure: Failure, progress: &Progress) -> Failure {
        if progress.dot_sent.is_some() || matches!(failure, Failure::Body(_) | Failure::Overdue) {
            return failure;
        }
        self.overhear();
        match self.parser.next_reply(&mut self.input) {
            Ok(Some(reply)) => {
                checked_refusal(reply, "the text").map_or_else(Failure::Reply, Failure::TextRefused)
            }
            _ => failure,
        }
    }

    /// True if nothing was said or closed by the other side since its last answer.
    pub(super) fn is_quiet(&mut self) -> bool {
        self.overhear() == Overheard::Silence
    }

    /// Takes in what is there without waiting. Asks the kernel only if the event loop saw something.
    fn overhear(&mut self) -> Overheard {
        if !self.input.is_empty() || !self.parser.is_idle() {
            return Overheard::Octets;
        }
        let mut space = [0; OVERHEARD_BYTES_MAX];
        let mut buffer = ReadBuf::new(&mut space);
        let mut context = Context::from_waker(Waker::noop());
        match Pin::new(&mut self.stream).poll_read(&mut context, &mut buffer) {
            Poll::Pending => Overheard::Silence,
            Poll::Ready(Ok(())) if !buffer.filled().is_empty() => {
                self.input.extend_from_slice(buffer.filled());
                Overheard::Octets
            }
            Poll::Ready(_) => Overheard::End,
        }
    }

    pub(super) const fn envelope(&self) -> Envelope {
        self.envelope
    }

    /// Notes that the present transaction is over for us, whatever the hop has of it.
    pub(super) fn leave_envelope(&mut self) {
        if self.envelope == Envelope::Ours {
            self.envelope = Envelope::Stale;
        }
    }

    /// Says QUIT without waiting for the answer, and closes.
    pub(super) fn quit(mut self) {
        let mut context = Context::from_waker(Waker::noop());
        let _ = Pin::new(&mut self.stream).poll_write(&mut context, b"QUIT\r\n");
        let _ = Pin::new(&mut self.stream).poll_flush(&mut context);
    }

    /// Nothing may have been said that was not asked for: it would be taken for the answer to this.
    async fn write_command(&mut self, octets: &[u8]) -> Result<(), Failure> {
        if !self.input.is_empty() {
            return Err(unasked("nothing").into());
        }
        self.write(octets, self.waits.command).await
    }

    async fn write(&mut self, mut octets: &[u8], wait: Duration) -> Result<(), Failure> {
        while !octets.is_empty() {
            match within(wait, "writing", self.stream.write(octets)).await? {
                0 => return Err(Failure::Closed("what was written")),
                written => octets = &octets[written..],
            }
        }
        within(wait, "writing", self.stream.flush()).await
    }

    async fn read_reply(&mut self, wait: Duration, to: &'static str) -> Result<RawReply, Failure> {
        let read = self.read_reply_patiently(to);
        timeout(wait, read).await.unwrap_or(Err(Failure::Stalled(to, wait)))
    }

    async fn read_reply_patiently(&mut self, to: &'static str) -> Result<RawReply, Failure> {
        loop {
            if let Some(reply) = self.parser.next_reply(&mut self.input)? {
                return Ok(reply);
            }
            self.input.reserve(INPUT_BYTES);
            match self.stream.read_buf(&mut self.input).await {
                Ok(0) => return Err(Failure::Closed(to)),
                Ok(_) => {}
                Err(error) => return Err(Failure::Io(to, error)),
            }
        }
    }

    async fn expect(&mut self, code: u16, to: &'static str) -> Result<RawReply, Failure> {
        let reply = self.read_reply(self.waits.command, to).await?;
        if reply.code() == code {
            return Ok(reply);
        }
        Err(Failure::Refused(to, reply.into_reply()))
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Overheard {
    Silence,
    Octets,
    End,
}

impl Waits {
    const fn of(settings: &SmarthostSettings) -> Self {
        Self {
            connect: settings.timeout_connect,
            tls: settings.timeout_tls,
            command: settings.timeout_command,
            data: settings.timeout_data,
            last: settings.timeout_final,
        }
    }
}

async fn within<T>(
    wait: Duration,
    during: &'static str,
    work: impl Future<Output = io::Result<T>>,
) -> Result<T, Failure> {
    match timeout(wait, work).await {
        Ok(done) => done.map_err(|error| Failure::Io(during, error)),
        Err(_) => Err(Failure::Stalled(during, wait)),
    }
}

/// A 4xx or 5xx, but not 421.
fn checked_refusal(reply: RawReply, command: &'static str) -> Result<Reply, ReplyError> {
    let reply = checked(reply, command)?;
    if reply.is_positive() { Err(unexpected(&reply, command)) } else { Ok(reply) }
}

fn unasked(command: &'static str) -> ReplyError {
    ReplyError::Unexpected { command, reply: String::from("more than it was asked") }
}

/// Octets of text that are gathered into one write.
const OUTPUT_BYTES_MAX: usize = 64 * 1024;
/// Octets of that buffer that an idle connection keeps.
const OUTPUT_BYTES_KEPT: usize = 8 * 1024;
/// Room for replies; a larger one takes more reads.
const INPUT_BYTES: usize = 1024;
/// Octets that are looked at when nothing was asked.
const OVERHEARD_BYTES_MAX: usize = 512;
