//! A next hop that misbehaves where a script says so, and knows the truth: which texts came whole, and to which of them it
//! gave a complete 2xx.
//!
//! `hop.play(script().at(Step::Rcpt(2), Act::say("451 4.7.1 later")))` takes effect with the next connection. Like the sink it
//! speaks SMTP on its own, without any code of the gate.

use super::{
    WAIT_MAX,
    authority::{Authority, Certificate},
    ports::{self, free_port},
    sink::{Taken, read_text},
    wait_for,
};
use rustls::{ServerConnection, StreamOwned};
use socket2::SockRef;
use std::{
    io::{self, BufRead, BufReader, Read, Write},
    net::{Shutdown, SocketAddr, TcpListener, TcpStream},
    path::Path,
    sync::{Arc, Condvar, Mutex, MutexGuard},
    thread,
    time::Duration,
};
use tollgate::clock::steady_now;

/// A station of the dialogue. What is done there replaces the answer to the command of that name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Step {
    /// After accept, before anything else.
    Connect,
    Banner,
    Ehlo,
    StartTls,
    /// Before the handshake, on the bare connection.
    Handshake,
    /// EHLO after the handshake.
    EhloAgain,
    Auth,
    Rset,
    Mail,
    /// The n-th recipient of the message; the first is 1.
    Rcpt(usize),
    Data,
    /// When the first line of the text has come.
    Text,
    /// When the final dot has come.
    Dot,
    /// When the final dot is answered.
    Idle,
    Quit,
}

/// What the hop does at a step.
#[derive(Debug, Clone)]
pub(crate) enum Act {
    /// Says these octets in place of its answer.
    Say(Vec<u8>),
    /// Answers as it should and says this in the same breath.
    Add(Vec<u8>),
    /// Answers as it should and says this so much later.
    AddLater(Duration, Vec<u8>),
    /// Answers after so much time.
    Dawdle(Duration),
    /// Says this and hangs up.
    Close(HangUp, Vec<u8>),
    /// Neither says nor reads anything more, until the other side has gone.
    Stall,
    /// Reads a kilobyte, waits so long, and so on.
    Trickle(Duration),
    /// Says this again and again until the connection breaks.
    Flood(Vec<u8>),
}

/// How a connection ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum HangUp {
    /// In order.
    Fin,
    /// With a reset.
    Rst,
}

/// Which octets a [`Script::cut`] counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Flow {
    /// Those that the hop reads.
    In,
    /// Those that the hop writes.
    Out,
}

impl Act {
    /// One line in place of the answer.
    pub(crate) fn say(line: &str) -> Self {
        Self::Say(format!("{line}\r\n").into_bytes())
    }

    /// One line behind the right answer.
    pub(crate) fn add(line: &str) -> Self {
        Self::Add(format!("{line}\r\n").into_bytes())
    }
}

/// How the hop behaves; unless told otherwise it says yes to everything.
#[derive(Debug, Clone)]
pub(crate) struct Script {
    acts: Vec<(Step, Act)>,
    offers: Vec<String>,
    tls: Tls,
    cut: Option<(Flow, usize, HangUp)>,
    /// So many messages of a connection pass before anything is done wrong.
    good_messages: usize,
    /// On so many connections; on later ones it plays the other.
    then: Option<(usize, Box<Script>)>,
    listens: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Tls {
    None,
    Offered(Certificate),
    Implicit(Certificate),
}

/// A script that says yes to everything.
pub(crate) fn script() -> Script {
    Script {
        acts: vec![],
        offers: OFFERS.iter().map(ToString::to_string).collect(),
        tls: Tls::None,
        cut: None,
        good_messages: 0,
        then: None,
        listens: true,
    }
}

impl Script {
    /// It does this at that step, every time.
    pub(crate) fn at(mut self, step: Step, act: Act) -> Self {
        self.acts.push((step, act));
        self
    }

    /// It offers exactly these extensions.
    pub(crate) fn offering(mut self, extensions: &[&str]) -> Self {
        self.offers = extensions.iter().map(ToString::to_string).collect();
        self
    }

    /// It does not offer this extension.
    pub(crate) fn without(mut self, extension: &str) -> Self {
        self.offers.retain(|offer| offer.split(' ').next() != Some(extension));
        self
    }

    /// It offers STARTTLS.
    pub(crate) fn starttls(mut self, certificate: Certificate) -> Self {
        self.tls = Tls::Offered(certificate);
        self
    }

    /// It speaks TLS from the first octet.
    pub(crate) fn implicit_tls(mut self, certificate: Certificate) -> Self {
        self.tls = Tls::Implicit(certificate);
        self
    }

    /// It hangs up when so many octets have gone this way, whatever they mean; under TLS the sealed ones count.
    pub(crate) fn cut(mut self, flow: Flow, octets: usize, how: HangUp) -> Self {
        self.cut = Some((flow, octets, how));
        self
    }

    /// It does so only after so many messages on the same connection.
    pub(crate) fn after(mut self, messages: usize) -> Self {
        self.good_messages = messages;
        self
    }

    /// It does all this on so many connections and plays `then` on the later ones.
    pub(crate) fn only(mut self, connections: usize, then: Self) -> Self {
        self.then = Some((connections, Box::new(then)));
        self
    }

    /// Nobody listens on its port.
    pub(crate) fn gone(mut self) -> Self {
        self.listens = false;
        self
    }

    /// False if nobody listens.
    pub(crate) fn listens(&self) -> bool {
        self.listens
    }

    fn act(&self, step: Step) -> Option<&Act> {
        self.acts.iter().find(|(at, _)| *at == step).map(|(_, act)| act)
    }
}

/// A running next hop; stops when it is dropped.
pub(crate) struct BadHop {
    address: SocketAddr,
    shared: Arc<Shared>,
}

/// A text that came whole, up to its final dot.
#[derive(Debug, Clone)]
pub(crate) struct Message {
    /// Which connection it came on; the first is 1.
    pub(crate) connection: usize,
    /// What came.
    pub(crate) taken: Taken,
    /// The hop gave it a complete 2xx.
    pub(crate) accepted: bool,
}

/// Starts one that is good until it is given a script.
pub(crate) fn bad_hop() -> BadHop {
    let address = free_port();
    let state = State { script: script(), ..State::default() };
    let shared = Arc::new(Shared {
        state: state.into(),
        changed: Condvar::new(),
        authority: Authority::new(),
    });
    let listener = ports::listen(address);
    let for_thread = Arc::clone(&shared);
    thread::spawn(move || listen(listener, address, &for_thread));
    BadHop { address, shared }
}

impl BadHop {
    /// Where it listens.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// The file of the authority that signed its certificates.
    pub(crate) fn authority(&self) -> &Path {
        self.shared.authority.file()
    }

    /// From the next connection on it plays this; open connections go on as they are.
    pub(crate) fn play(&self, script: Script) {
        let mut state = self.shared.state();
        let listened = state.script.listens;
        (state.script, state.in_turn, state.played) = (script, vec![], 0);
        let listens = state.script.listens;
        drop(state);
        self.shared.changed.notify_all();
        if listened != listens {
            self.wait_until_listening_is(listens);
        }
    }

    /// From the next connection on each plays the next of these, over and over.
    pub(crate) fn play_in_turn(&self, scripts: Vec<Script>) {
        let mut state = self.shared.state();
        (state.in_turn, state.played) = (scripts, 0);
    }

    /// From now on it does nothing wrong on any open connection, and plays this on new ones.
    pub(crate) fn behave(&self, script: Script) {
        self.shared.state().behaves = true;
        self.play(script);
    }

    /// Ends all connections, waits until the gate has let them go, forgets what it saw, and plays this.
    pub(crate) fn start_over(&self, script: Script) {
        self.shared.state().generation += 1;
        self.shared.changed.notify_all();
        wait_for("all connections to end", || {
            let state = self.shared.state();
            state.open.iter().for_each(|(_, stream)| _ = stream.shutdown(Shutdown::Write));
            state.open.is_empty().then_some(())
        });
        let mut state = self.shared.state();
        (state.connections, state.messages, state.heard) = (0, vec![], vec![]);
        state.behaves = false;
        drop(state);
        self.play(script);
    }

    /// How many connections it accepted.
    pub(crate) fn connections(&self) -> usize {
        self.shared.state().connections
    }

    /// The texts that came whole.
    pub(crate) fn messages(&self) -> Vec<Message> {
        self.shared.state().messages.clone()
    }

    /// Every line of command that it heard, with the number of its connection.
    pub(crate) fn heard(&self) -> Vec<(usize, String)> {
        self.shared.state().heard.clone()
    }

    fn wait_until_listening_is(&self, listens: bool) {
        wait_for("the port to be as the script says", || {
            // Wakes the thread that accepts.
            let is_open = TcpStream::connect(self.address).is_ok();
            (is_open == listens).then_some(())
        });
        wait_for("those calls to end", || self.shared.state().open.is_empty().then_some(()));
        let mut state = self.shared.state();
        (state.connections, state.played) = (0, 0);
    }
}

impl Drop for BadHop {
    fn drop(&mut self) {
        self.shared.state().stopped = true;
        self.shared.changed.notify_all();
        // Wakes the thread that accepts.
        drop(TcpStream::connect(self.address));
    }
}

struct Shared {
    state: Mutex<State>,
    changed: Condvar,
    authority: Authority,
}

#[derive(Default)]
struct State {
    script: Script,
    /// Played in place of `script`, unless there is none.
    in_turn: Vec<Script>,
    /// Connections since the script was given.
    played: usize,
    connections: usize,
    /// Grows when everything begins anew; who stalls looks at it.
    generation: usize,
    messages: Vec<Message>,
    heard: Vec<(usize, String)>,
    open: Vec<(usize, TcpStream)>,
    behaves: bool,
    stopped: bool,
}

impl State {
    /// What the newest connection plays.
    fn next_script(&self) -> Script {
        if !self.in_turn.is_empty() {
            return self.in_turn[(self.played - 1) % self.in_turn.len()].clone();
        }
        match &self.script.then {
            Some((connections, then)) if self.played > *connections => (**then).clone(),
            _ => self.script.clone(),
        }
    }
}

impl Default for Script {
    fn default() -> Self {
        script()
    }
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    /// Waits while `still` is true of the state; at most half a minute.
    fn wait_while(&self, still: impl Fn(&State) -> bool) {
        let state = self.state();
        drop(self.changed.wait_timeout_while(state, WAIT_MAX, |state| still(state)));
    }
}

/// Accepts for as long as the script listens, closes the port while it does not.
fn listen(mut listener: TcpListener, address: SocketAddr, shared: &Arc<Shared>) {
    loop {
        accept(&listener, shared);
        drop(listener);
        while !shared.state().script.listens && !shared.state().stopped {
            shared.wait_while(|state| !state.script.listens && !state.stopped);
        }
        if shared.state().stopped {
            return;
        }
        listener = ports::listen(address);
    }
}

fn accept(listener: &TcpListener, shared: &Arc<Shared>) {
    for stream in listener.incoming() {
        let mut state = shared.state();
        if state.stopped || !state.script.listens {
            return;
        }
        let Ok(stream) = stream else { continue };
        (state.connections, state.played) = (state.connections + 1, state.played + 1);
        let (number, generation) = (state.connections, state.generation);
        let script = state.next_script();
        state.open.push((number, stream.try_clone().unwrap()));
        drop(state);
        let shared = Arc::clone(shared);
        thread::spawn(move || {
            let wire = Wire { tcp: stream, cut: script.cut, over: false };
            let conversation = Conversation::new(wire, script, number, generation, &shared);
            // The gate may hang up at any moment; what came is in the state.
            let ended = conversation.run();
            shared.state().open.retain(|(open, _)| *open != number);
            drop(ended);
        });
    }
}

/// The TCP connection, which ends itself after the octets that a script allows.
struct Wire {
    tcp: TcpStream,
    cut: Option<(Flow, usize, HangUp)>,
    over: bool,
}

impl Wire {
    /// How many of `wanted` octets may go this way.
    fn room(&self, flow: Flow, wanted: usize) -> usize {
        match self.cut {
            Some((cut, left, _)) if cut == flow => wanted.min(left),
            _ => wanted,
        }
    }

    /// Notes that octets have gone this way; the last one that may ends the connection.
    fn went(&mut self, flow: Flow, octets: usize) {
        if let Some((cut, left, how)) = &mut self.cut
            && *cut == flow
        {
            *left -= octets;
            if *left == 0 {
                let how = *how;
                self.end(how);
            }
        }
    }

    fn end(&mut self, how: HangUp) {
        self.over = true;
        self.hang_up(how);
    }

    fn check(&self) -> io::Result<()> {
        if self.over { Err(io::ErrorKind::ConnectionAborted.into()) } else { Ok(()) }
    }

    /// Ends the connection; an error, so that the conversation ends with it.
    fn hang_up(&self, how: HangUp) -> io::Error {
        match how {
            // What is unread would turn an orderly end into a reset.
            HangUp::Fin => {
                let _ = self.tcp.shutdown(Shutdown::Write);
                let _ = self.tcp.set_read_timeout(Some(DRAIN_MAX));
                let _ = io::copy(&mut &self.tcp, &mut io::sink());
            }
            HangUp::Rst => _ = SockRef::from(&self.tcp).set_linger(Some(Duration::ZERO)),
        }
        io::ErrorKind::ConnectionAborted.into()
    }
}

impl Read for Wire {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.check()?;
        let room = self.room(Flow::In, buffer.len());
        let octets = self.tcp.read(&mut buffer[..room])?;
        self.went(Flow::In, octets);
        Ok(octets)
    }
}

impl Write for Wire {
    fn write(&mut self, octets: &[u8]) -> io::Result<usize> {
        self.check()?;
        let room = self.room(Flow::Out, octets.len());
        let written = self.tcp.write(&octets[..room])?;
        self.went(Flow::Out, written);
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

enum Channel {
    Plain(Wire),
    Tls(Box<StreamOwned<ServerConnection, Wire>>),
}

impl Channel {
    fn wire(&self) -> &Wire {
        match self {
            Self::Plain(wire) => wire,
            Self::Tls(stream) => &stream.sock,
        }
    }
}

impl Read for Channel {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Plain(wire) => wire.read(buffer),
            Self::Tls(stream) => stream.read(buffer),
        }
    }
}

impl Write for Channel {
    fn write(&mut self, octets: &[u8]) -> io::Result<usize> {
        match self {
            Self::Plain(wire) => wire.write(octets),
            Self::Tls(stream) => stream.write(octets),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Self::Plain(wire) => wire.flush(),
            Self::Tls(stream) => stream.flush(),
        }
    }
}

/// One connection.
struct Conversation<'a> {
    input: BufReader<Channel>,
    /// Answers that are due; sent before the next read that would wait, as a server that knows PIPELINING does.
    output: Vec<u8>,
    script: Script,
    number: usize,
    generation: usize,
    shared: &'a Shared,
    mail: Option<String>,
    recipients: Vec<String>,
    asked: usize,
    /// Those that came whole before the present one.
    messages: usize,
}

impl<'a> Conversation<'a> {
    fn new(
        wire: Wire,
        script: Script,
        number: usize,
        generation: usize,
        shared: &'a Shared,
    ) -> Self {
        let input = BufReader::with_capacity(64 * 1024, Channel::Plain(wire));
        let (output, mail, recipients, asked, messages) = (vec![], None, vec![], 0, 0);
        Self {
            input,
            output,
            script,
            number,
            generation,
            shared,
            mail,
            recipients,
            asked,
            messages,
        }
    }

    fn run(mut self) -> io::Result<()> {
        let wire = self.wire();
        wire.tcp.set_nodelay(true)?;
        if let Some((_, 0, how)) = wire.cut {
            return Err(wire.hang_up(how));
        }
        self.answer(Step::Connect, "")?;
        if let Tls::Implicit(certificate) = self.script.tls {
            self = self.protect(certificate)?;
        }
        self.answer(Step::Banner, "220 hop.example ESMTP\r\n")?;
        loop {
            let line = self.line()?;
            self.shared.state().heard.push((self.number, line.clone()));
            let verb = line.split([' ', ':']).next().unwrap_or_default().to_ascii_uppercase();
            match verb.as_str() {
                "EHLO" => self.hello()?,
                "STARTTLS" => {
                    let Tls::Offered(certificate) = self.script.tls else {
                        self.output.extend(b"502 5.5.1 unknown\r\n");
                        continue;
                    };
                    if self.answer(Step::StartTls, "220 2.0.0 go ahead\r\n")?.starts_with(b"220") {
                        self.flush()?;
                        self = self.protect(certificate)?;
                    }
                }
                "AUTH" => _ = self.answer(Step::Auth, "235 2.7.0 welcome\r\n")?,
                "MAIL" => self.begin(line)?,
                "RCPT" => self.recipient(line)?,
                "DATA" => self.data()?,
                "RSET" => {
                    (self.mail, self.recipients) = (None, vec![]);
                    self.answer(Step::Rset, "250 2.0.0 reset\r\n")?;
                }
                "QUIT" => {
                    self.answer(Step::Quit, "221 2.0.0 bye\r\n")?;
                    return self.flush();
                }
                _ => self.output.extend(b"502 5.5.1 unknown\r\n"),
            }
        }
    }

    fn wire(&self) -> &Wire {
        self.input.get_ref().wire()
    }

    fn act(&self, step: Step) -> Option<Act> {
        let is_good = self.shared.state().behaves || self.messages < self.script.good_messages;
        if is_good { None } else { self.script.act(step).cloned() }
    }

    /// Does what the script says here, else gives the right answer; returns what was said first.
    fn answer(&mut self, step: Step, right: &str) -> io::Result<Vec<u8>> {
        let right = right.as_bytes();
        let act = self.act(step);
        let said = match &act {
            Some(Act::Say(octets) | Act::Close(_, octets)) => octets,
            Some(Act::Stall | Act::Trickle(_) | Act::Flood(_)) => &[][..],
            _ => right,
        };
        self.output.extend(said);
        match &act {
            None | Some(Act::Say(_)) => {}
            Some(Act::Add(more)) => self.output.extend(more),
            Some(Act::AddLater(wait, more)) => {
                self.flush()?;
                // The very thing that is scripted: something that comes too late.
                thread::sleep(*wait);
                self.output.extend(more);
                self.flush()?;
            }
            Some(Act::Dawdle(wait)) => thread::sleep(*wait),
            Some(Act::Close(how, _)) => {
                self.flush()?;
                return Err(self.wire().hang_up(*how));
            }
            Some(Act::Stall) => {
                self.flush()?;
                return Err(self.stall());
            }
            Some(Act::Trickle(wait)) => {
                self.flush()?;
                return Err(self.trickle(*wait));
            }
            Some(Act::Flood(octets)) => loop {
                self.output.extend(octets);
                self.flush()?;
            },
        }
        Ok(said.to_vec())
    }

    /// Waits until everything begins anew, or until the other side has gone.
    fn stall(&self) -> io::Error {
        let tcp = &self.wire().tcp;
        let _ = tcp.set_read_timeout(Some(STALL_LOOK_EVERY));
        let deadline = steady_now() + WAIT_MAX;
        while steady_now() < deadline && self.shared.state().generation == self.generation {
            if has_ended(tcp) {
                break;
            }
            // Octets that wait to be read hide the end from `peek`, so this is no tight loop.
            thread::sleep(STALL_LOOK_EVERY);
        }
        io::ErrorKind::TimedOut.into()
    }

    fn trickle(&mut self, wait: Duration) -> io::Error {
        let mut octets = [0; 1024];
        while self.shared.state().generation == self.generation {
            match self.input.get_mut().read(&mut octets) {
                Ok(0) => return io::ErrorKind::UnexpectedEof.into(),
                Ok(_) => thread::sleep(wait),
                Err(error) => return error,
            }
        }
        io::ErrorKind::TimedOut.into()
    }

    fn flush(&mut self) -> io::Result<()> {
        let octets = std::mem::take(&mut self.output);
        self.input.get_mut().write_all(&octets)?;
        self.input.get_mut().flush()
    }

    fn line(&mut self) -> io::Result<String> {
        if self.input.buffer().is_empty() {
            self.flush()?;
        }
        let mut line = String::new();
        match self.input.read_line(&mut line)? {
            0 => Err(io::ErrorKind::UnexpectedEof.into()),
            _ => Ok(line.trim_end_matches("\r\n").to_owned()),
        }
    }

    /// Drops what was said in the clear, and goes on under TLS.
    fn protect(mut self, certificate: Certificate) -> io::Result<Self> {
        self.answer(Step::Handshake, "")?;
        self.flush()?;
        let Channel::Plain(wire) = self.input.into_inner() else {
            return Err(io::ErrorKind::AlreadyExists.into());
        };
        let stream = self.shared.authority.serve(certificate, wire);
        let channel = Channel::Tls(Box::new(stream));
        Ok(Self { input: BufReader::with_capacity(64 * 1024, channel), ..self })
    }

    fn hello(&mut self) -> io::Result<()> {
        let is_tls = matches!(self.input.get_ref(), Channel::Tls(_));
        let starttls = matches!(self.script.tls, Tls::Offered(_)) && !is_tls;
        let offers = self.script.offers.iter().map(String::as_str);
        let offers: Vec<&str> = offers.chain(starttls.then_some("STARTTLS")).collect();
        let mut lines: String = format!("250-hop.example\r\n250-{}\r\n", offers.join("\r\n250-"));
        if offers.is_empty() {
            "250 hop.example\r\n".clone_into(&mut lines);
        } else if let Some(last) = lines.rfind("250-") {
            lines.replace_range(last..last + 4, "250 ");
        }
        let is_again = is_tls && matches!(self.script.tls, Tls::Offered(_));
        let step = if is_again { Step::EhloAgain } else { Step::Ehlo };
        self.answer(step, &lines).map(drop)
    }

    fn begin(&mut self, line: String) -> io::Result<()> {
        (self.recipients, self.asked) = (vec![], 0);
        let said = self.answer(Step::Mail, "250 2.1.0 ok\r\n")?;
        self.mail = is_yes(&said).then_some(line);
        Ok(())
    }

    fn recipient(&mut self, line: String) -> io::Result<()> {
        self.asked += 1;
        let right =
            if self.mail.is_some() { "250 2.1.5 ok\r\n" } else { "503 5.5.1 MAIL first\r\n" };
        let said = self.answer(Step::Rcpt(self.asked), right)?;
        if self.mail.is_some() && is_yes(&said) {
            self.recipients.push(line);
        }
        Ok(())
    }

    fn data(&mut self) -> io::Result<()> {
        let is_open = !self.recipients.is_empty();
        let right = if is_open { "354 go ahead\r\n" } else { "554 5.5.1 no recipients\r\n" };
        if !self.answer(Step::Data, right)?.starts_with(b"3") {
            return Ok(());
        }
        self.flush()?;
        self.input.fill_buf()?;
        self.answer(Step::Text, "")?;
        self.flush()?;
        let (text, size) = read_text(&mut self.input)?;
        let taken = Taken {
            at: steady_now(),
            mail: self.mail.take().unwrap_or_default(),
            recipients: std::mem::take(&mut self.recipients),
            text,
            size,
        };
        self.conclude(taken)
    }

    /// Notes the message before it answers, so that whoever hears 250 finds it here.
    fn conclude(&mut self, taken: Taken) -> io::Result<()> {
        let act = self.act(Step::Dot);
        let right = "250 2.0.0 taken\r\n";
        let accepted = match &act {
            Some(Act::Say(octets) | Act::Close(_, octets)) => is_complete_yes(octets),
            Some(Act::Stall | Act::Trickle(_) | Act::Flood(_)) => false,
            Some(Act::Add(_) | Act::AddLater(..) | Act::Dawdle(_)) | None => self.has_room(right),
        };
        let message = Message { connection: self.number, taken, accepted };
        self.shared.state().messages.push(message);
        let answered = self.answer(Step::Dot, right).and_then(|_| self.flush());
        if answered.is_err() && !matches!(act, Some(Act::Close(..))) {
            self.disown();
        }
        answered?;
        self.answer(Step::Idle, "").and_then(|_| self.flush())?;
        self.messages += 1;
        Ok(())
    }

    /// True if the script does not cut this answer.
    fn has_room(&self, answer: &str) -> bool {
        let sealed = match self.input.get_ref() {
            Channel::Plain(_) => answer.len(),
            Channel::Tls(_) => answer.len() + SEAL_BYTES,
        };
        self.wire().room(Flow::Out, sealed) == sealed
    }

    /// The answer did not go out.
    fn disown(&self) {
        let mut state = self.shared.state();
        let mine = state.messages.iter_mut().rfind(|message| message.connection == self.number);
        mine.into_iter().for_each(|message| message.accepted = false);
    }
}

/// True if the other side has closed and nothing is left to read.
fn has_ended(tcp: &TcpStream) -> bool {
    match tcp.peek(&mut [0]) {
        Ok(octets) => octets == 0,
        Err(error) => !matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut),
    }
}

/// What is left unsaid counts as a yes.
fn is_yes(said: &[u8]) -> bool {
    said.is_empty() || said.starts_with(b"2")
}

/// True if `said` begins with a whole reply of 2xx (RFC 5321 §4.2.1) of a length that a reply may have.
fn is_complete_yes(said: &[u8]) -> bool {
    let mut code = None;
    let lines = said.split_inclusive(|&octet| octet == b'\n');
    for line in lines.take(REPLY_LINES_MAX).take_while(|line| line.len() <= REPLY_LINE_BYTES_MAX) {
        let Some((digits, rest)) = line.split_at_checked(3) else { return false };
        let is_code = digits[0] == b'2' && digits.iter().all(u8::is_ascii_digit);
        if !is_code || *code.get_or_insert(digits) != digits || !line.ends_with(b"\n") {
            return false;
        }
        match rest[0] {
            b'-' => {}
            b' ' | b'\r' | b'\n' => return true,
            _ => return false,
        }
    }
    false
}

const OFFERS: [&str; 6] =
    ["PIPELINING", "SIZE 209715200", "8BITMIME", "SMTPUTF8", "ENHANCEDSTATUSCODES", "DSN"];
/// More than any server says.
const REPLY_LINES_MAX: usize = 100;
const REPLY_LINE_BYTES_MAX: usize = 2048;
/// What TLS 1.3 adds to a record: header, type and tag (RFC 8446 §5.2).
const SEAL_BYTES: usize = 22;
/// Wait for the other side to close after an orderly end.
const DRAIN_MAX: Duration = Duration::from_secs(5);
const STALL_LOOK_EVERY: Duration = Duration::from_millis(20);
