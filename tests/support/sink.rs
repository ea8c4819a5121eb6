//! A next hop to look into: takes mail, notes when and what, and misbehaves on demand.
//!
//! It speaks SMTP on its own, without any code of the gate, so that a mistake there is not repeated here.

use super::{WAIT_MAX, ports};
use std::{
    io::{self, BufRead, BufReader, Write},
    net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream},
    sync::{Arc, Condvar, Mutex, MutexGuard},
    thread,
    time::{Duration, Instant},
};
use tollgate::clock::steady_now;

/// A next hop that accepts everything, unless told otherwise.
pub(crate) fn sink() -> SinkBuilder {
    SinkBuilder {
        offers: OFFERS.iter().map(ToString::to_string).collect(),
        greeting: "220 sink.example ESMTP".to_owned(),
        mail_answer: "250 2.1.0 ok".to_owned(),
        refuse_nth: None,
        refused: None,
        final_answer: "250 2.0.0 taken".to_owned(),
        final_delay: Duration::ZERO,
        idle_max: None,
        after_dot: AfterDot::Answer,
    }
}

/// What a sink will be like.
#[derive(Clone)]
pub(crate) struct SinkBuilder {
    offers: Vec<String>,
    greeting: String,
    mail_answer: String,
    refuse_nth: Option<(usize, String)>,
    refused: Option<(String, String)>,
    final_answer: String,
    final_delay: Duration,
    idle_max: Option<Duration>,
    after_dot: AfterDot,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum AfterDot {
    Answer,
    Close,
}

impl SinkBuilder {
    /// It does not offer this extension.
    pub(crate) fn without(mut self, extension: &str) -> Self {
        self.offers.retain(|offer| offer != extension);
        self
    }

    /// It greets so; with a 4xx or 5xx it then closes.
    pub(crate) fn greet(mut self, line: &str) -> Self {
        line.clone_into(&mut self.greeting);
        self
    }

    /// It answers MAIL so.
    pub(crate) fn mail_answer(mut self, reply: &str) -> Self {
        reply.clone_into(&mut self.mail_answer);
        self
    }

    /// It answers the n-th recipient of each message so; the first is 1.
    pub(crate) fn refuse_nth(mut self, nth: usize, reply: &str) -> Self {
        self.refuse_nth = Some((nth, reply.to_owned()));
        self
    }

    /// It answers this recipient so.
    pub(crate) fn refuse(mut self, address: &str, reply: &str) -> Self {
        self.refused = Some((address.to_owned(), reply.to_owned()));
        self
    }

    /// It answers the final dot so.
    pub(crate) fn final_answer(mut self, reply: &str) -> Self {
        reply.clone_into(&mut self.final_answer);
        self
    }

    /// It takes so long to answer the final dot.
    pub(crate) fn final_delay(mut self, delay: Duration) -> Self {
        self.final_delay = delay;
        self
    }

    /// It closes connections on which nothing is said for so long.
    pub(crate) fn hang_up_idle(mut self, after: Duration) -> Self {
        self.idle_max = Some(after);
        self
    }

    /// It takes the message and closes without an answer to the final dot.
    pub(crate) fn close_after_dot(mut self) -> Self {
        self.after_dot = AfterDot::Close;
        self
    }

    /// Starts it.
    pub(crate) fn run(self) -> Sink {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        self.serve(listener)
    }

    /// Starts it on a port that nobody listens on yet, so that a gate can be told of it and it can come later.
    pub(crate) fn run_at(self, address: SocketAddr) -> Sink {
        self.serve(ports::listen(address))
    }

    fn serve(self, listener: TcpListener) -> Sink {
        let address = listener.local_addr().unwrap();
        let state = State { refused: self.refused.clone(), ..State::default() };
        let shared = Arc::new(Shared { state: state.into(), changed: Condvar::new() });
        let for_thread = Arc::clone(&shared);
        thread::spawn(move || accept(&listener, &self, &for_thread));
        Sink { address, shared }
    }
}

/// A running next hop; stops when it is dropped.
pub(crate) struct Sink {
    address: SocketAddr,
    shared: Arc<Shared>,
}

/// A message that the sink took.
#[derive(Debug, Clone)]
pub(crate) struct Taken {
    /// When the sink accepted it, just before it answered.
    pub(crate) at: Instant,
    /// MAIL as it came.
    pub(crate) mail: String,
    /// RCPT as it came, of each accepted recipient.
    pub(crate) recipients: Vec<String>,
    /// The text, without the dots that were put in for the wire.
    pub(crate) text: Vec<u8>,
    /// The octets of the text.
    pub(crate) size: usize,
}

impl Taken {
    /// The text as UTF-8.
    pub(crate) fn as_str(&self) -> &str {
        std::str::from_utf8(&self.text).unwrap()
    }

    /// The values of a header field.
    pub(crate) fn fields(&self, name: &str) -> Vec<String> {
        let head = self.as_str().split("\r\n\r\n").next().unwrap_or_default();
        let head = head.replace("\r\n\t", " ").replace("\r\n ", " ");
        let values = head.lines().filter_map(|line| line.split_once(':'));
        values
            .filter(|(field, _)| field.eq_ignore_ascii_case(name))
            .map(|(_, value)| value.trim().to_owned())
            .collect()
    }

    /// The text without its topmost field, which the gate put there.
    pub(crate) fn below_received(&self) -> &[u8] {
        let mut rest = self.text.as_slice();
        loop {
            let line = rest.split_inclusive(|&octet| octet == b'\n').next().unwrap_or_default();
            rest = &rest[line.len()..];
            if line.is_empty() || !rest.starts_with(b"\t") && !rest.starts_with(b" ") {
                return rest;
            }
        }
    }
}

impl Sink {
    /// Where it listens.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// All messages that it took so far.
    pub(crate) fn taken(&self) -> Vec<Taken> {
        self.shared.state().taken.clone()
    }

    /// How many messages it took.
    pub(crate) fn count(&self) -> usize {
        self.shared.state().taken.len()
    }

    /// The recipients of all messages together.
    pub(crate) fn recipients(&self) -> usize {
        self.shared.state().taken.iter().map(|taken| taken.recipients.len()).sum()
    }

    /// The newest message.
    #[track_caller]
    pub(crate) fn last(&self) -> Taken {
        self.shared.state().taken.last().cloned().expect("the sink has a message")
    }

    /// Waits until it has taken `count` messages and returns them all.
    pub(crate) fn wait_for(&self, count: usize) -> Vec<Taken> {
        let state = self.shared.state();
        let waited = self
            .shared
            .changed
            .wait_timeout_while(state, WAIT_MAX, |state| state.taken.len() < count);
        let (state, timeout) = waited.unwrap();
        assert!(!timeout.timed_out(), "{} of {count} messages came", state.taken.len());
        state.taken.clone()
    }

    /// Every line of command that it heard.
    pub(crate) fn heard(&self) -> Vec<String> {
        self.shared.state().heard.clone()
    }

    /// From now on it answers this recipient so.
    pub(crate) fn refuse_from_now_on(&self, address: &str, reply: &str) {
        self.shared.state().refused = Some((address.to_owned(), reply.to_owned()));
    }

    /// On how many connections it hung up, because nothing was said.
    pub(crate) fn hung_up(&self) -> usize {
        self.shared.state().hung_up
    }

    /// How many connections it accepted.
    pub(crate) fn connections(&self) -> usize {
        self.shared.state().connections
    }
}

impl Drop for Sink {
    fn drop(&mut self) {
        self.shared.state().stopped = true;
        // Wakes the thread that accepts.
        drop(TcpStream::connect(self.address));
    }
}

struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    taken: Vec<Taken>,
    heard: Vec<String>,
    connections: usize,
    hung_up: usize,
    refused: Option<(String, String)>,
    stopped: bool,
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

fn accept(listener: &TcpListener, builder: &SinkBuilder, shared: &Arc<Shared>) {
    for stream in listener.incoming() {
        if shared.state().stopped {
            return;
        }
        let Ok(stream) = stream else { continue };
        shared.state().connections += 1;
        let (builder, shared) = (builder.clone(), Arc::clone(shared));
        thread::spawn(move || {
            // A gate that was killed leaves a connection in any state; that is no fault of the test.
            let _ = Conversation::new(stream, &builder, &shared).and_then(Conversation::run);
        });
    }
}

/// One connection.
struct Conversation<'a> {
    input: BufReader<TcpStream>,
    /// Answers that are due; sent before the next read that would wait, as a server that knows PIPELINING does.
    output: Vec<u8>,
    builder: &'a SinkBuilder,
    shared: &'a Shared,
    mail: String,
    recipients: Vec<String>,
    asked: usize,
}

impl<'a> Conversation<'a> {
    fn new(stream: TcpStream, builder: &'a SinkBuilder, shared: &'a Shared) -> io::Result<Self> {
        stream.set_read_timeout(builder.idle_max)?;
        stream.set_nodelay(true)?;
        let input = BufReader::with_capacity(64 * 1024, stream);
        let (mail, recipients) = (String::new(), Vec::new());
        Ok(Self { input, output: vec![], builder, shared, mail, recipients, asked: 0 })
    }

    fn run(mut self) -> io::Result<()> {
        let greeting = self.builder.greeting.clone();
        self.answer(&greeting);
        if !greeting.starts_with('2') {
            return self.flush();
        }
        loop {
            let line = self.line()?;
            self.shared.state().heard.push(line.clone());
            let verb = line.split([' ', ':']).next().unwrap_or_default().to_ascii_uppercase();
            match verb.as_str() {
                "EHLO" => self.answer_ehlo(),
                "MAIL" => self.begin(line),
                "RCPT" => self.recipient(line),
                "DATA" => self.data()?,
                "RSET" => self.reset(),
                "NOOP" | "HELO" => self.answer("250 2.0.0 ok"),
                "QUIT" => {
                    self.answer("221 2.0.0 bye");
                    return self.flush();
                }
                _ => self.answer("502 5.5.1 unknown"),
            }
        }
    }

    fn answer(&mut self, line: &str) {
        self.output.extend_from_slice(line.as_bytes());
        self.output.extend_from_slice(b"\r\n");
    }

    fn flush(&mut self) -> io::Result<()> {
        self.input.get_mut().write_all(&self.output)?;
        self.output.clear();
        Ok(())
    }

    fn line(&mut self) -> io::Result<String> {
        if self.input.buffer().is_empty() {
            self.flush()?;
        }
        let mut line = String::new();
        match self.input.read_line(&mut line) {
            Ok(0) => Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(_) => Ok(line.trim_end_matches("\r\n").to_owned()),
            Err(error) => {
                // Idle for too long: a farewell, as RFC 5321 §3.8 has it.
                self.shared.state().hung_up += 1;
                self.answer("421 4.4.2 idle for too long");
                self.flush()?;
                self.input.get_ref().shutdown(Shutdown::Both)?;
                Err(error)
            }
        }
    }

    fn answer_ehlo(&mut self) {
        let offers = &self.builder.offers;
        let names = std::iter::once("sink.example").chain(offers.iter().map(String::as_str));
        let last = offers.len();
        for (index, name) in names.enumerate() {
            let mark = if index == last { ' ' } else { '-' };
            self.output.extend_from_slice(format!("250{mark}{name}\r\n").as_bytes());
        }
    }

    fn begin(&mut self, line: String) {
        self.recipients.clear();
        self.asked = 0;
        let answer = self.builder.mail_answer.clone();
        self.mail = if answer.starts_with('2') { line } else { String::new() };
        self.answer(&answer);
    }

    fn reset(&mut self) {
        self.mail.clear();
        self.recipients.clear();
        self.asked = 0;
        self.answer("250 2.0.0 reset");
    }

    fn recipient(&mut self, line: String) {
        if self.mail.is_empty() {
            return self.answer("503 5.5.1 MAIL first");
        }
        self.asked += 1;
        let by_place = self
            .builder
            .refuse_nth
            .as_ref()
            .filter(|(nth, _)| *nth == self.asked)
            .map(|(_, reply)| reply.clone());
        let refused = self.shared.state().refused.clone();
        let by_name = refused
            .filter(|(address, _)| line.contains(&format!("<{address}>")))
            .map(|(_, reply)| reply);
        if let Some(reply) = by_place.or(by_name) {
            return self.answer(&reply);
        }
        self.recipients.push(line);
        self.answer("250 2.1.5 ok");
    }

    fn data(&mut self) -> io::Result<()> {
        if self.recipients.is_empty() {
            self.answer("554 5.5.1 no recipients");
            return Ok(());
        }
        self.answer("354 go ahead");
        self.flush()?;
        let (text, size) = read_text(&mut self.input)?;
        let taken = Taken {
            at: steady_now(),
            mail: std::mem::take(&mut self.mail),
            recipients: std::mem::take(&mut self.recipients),
            text,
            size,
        };
        self.conclude(taken)
    }

    /// Notes the message before it answers, so that whoever hears 250 finds it here.
    fn conclude(&mut self, mut taken: Taken) -> io::Result<()> {
        thread::sleep(self.builder.final_delay);
        taken.at = steady_now();
        let answer = self.builder.final_answer.clone();
        if answer.starts_with('2') {
            self.shared.state().taken.push(taken);
            self.shared.changed.notify_all();
        }
        if self.builder.after_dot == AfterDot::Close {
            return Err(io::ErrorKind::ConnectionAborted.into());
        }
        self.answer(&answer);
        self.flush()
    }
}

/// The text up to the final dot, without the dots that were put in (RFC 5321 §4.5.2), and how long it was.
pub(super) fn read_text(input: &mut impl BufRead) -> io::Result<(Vec<u8>, usize)> {
    let (mut text, mut size, mut line) = (Vec::new(), 0, Vec::new());
    loop {
        line.clear();
        if input.read_until(b'\n', &mut line)? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        if line == b".\r\n" {
            return Ok((text, size));
        }
        let kept = line.strip_prefix(b".").unwrap_or(&line);
        size += kept.len();
        text.extend_from_slice(kept);
    }
}

/// An address where a sink can be started later.
pub(crate) fn sink_later() -> SocketAddr {
    ports::free_port()
}

const OFFERS: [&str; 6] =
    ["PIPELINING", "SIZE 209715200", "8BITMIME", "SMTPUTF8", "ENHANCEDSTATUSCODES", "DSN"];
