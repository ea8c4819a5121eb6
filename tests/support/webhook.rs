//! A receiver of webhooks to look into: notes what comes, and answers, fails or hangs on demand.

use super::{ports::free_port, wait_for};
use serde_json::Value;
use std::{
    io::{BufRead, BufReader, Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    sync::{Arc, Mutex, MutexGuard},
    thread,
    time::Duration,
};

/// A running receiver; stops when it is dropped.
pub(crate) struct Webhook {
    address: SocketAddr,
    shared: Arc<Mutex<State>>,
}

/// What it does with a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mood {
    /// It takes it.
    Well,
    /// It answers with this status.
    Status(u16),
    /// It reads it and never answers.
    Hangs,
}

/// A request that came, whatever was answered.
#[derive(Debug, Clone)]
pub(crate) struct Call {
    /// The header fields, names in lower case.
    pub(crate) fields: Vec<(String, String)>,
    /// The body.
    pub(crate) body: String,
    /// Whether it was taken.
    pub(crate) taken: bool,
}

struct State {
    mood: Mood,
    calls: Vec<Call>,
    stopped: bool,
}

impl Call {
    /// The body as JSON.
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap()
    }

    /// The value of a field.
    #[track_caller]
    pub(crate) fn field(&self, name: &str) -> &str {
        let found = self.fields.iter().find(|(field, _)| field == name);
        &found.unwrap_or_else(|| panic!("no {name} in {self:?}")).1
    }
}

impl Webhook {
    /// Starts one on a free port.
    pub(crate) fn start(mood: Mood) -> Self {
        Self::start_at(free_port(), mood)
    }

    /// Starts one where another was.
    pub(crate) fn start_at(address: SocketAddr, mood: Mood) -> Self {
        let listener = wait_for("the port to be free", || TcpListener::bind(address).ok());
        let state = State { mood, calls: Vec::new(), stopped: false };
        let shared = Arc::new(Mutex::new(state));
        let for_thread = shared.clone();
        thread::spawn(move || accept(&listener, &for_thread));
        Self { address, shared }
    }

    /// Where it listens.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// From now on it behaves so.
    pub(crate) fn become_(&self, mood: Mood) {
        self.state().mood = mood;
    }

    /// All that came so far.
    pub(crate) fn calls(&self) -> Vec<Call> {
        self.state().calls.clone()
    }

    /// The messages that it took so far.
    pub(crate) fn taken(&self) -> Vec<Value> {
        self.calls().iter().filter(|call| call.taken).map(Call::json).collect()
    }

    /// Waits until it took a message for which this is true.
    #[track_caller]
    pub(crate) fn wait_for(&self, what: &str, matches: impl Fn(&Value) -> bool) -> Value {
        wait_for(what, || self.taken().into_iter().find(&matches))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.shared.lock().unwrap()
    }
}

impl Drop for Webhook {
    fn drop(&mut self) {
        self.state().stopped = true;
        drop(TcpStream::connect(self.address));
    }
}

fn accept(listener: &TcpListener, shared: &Arc<Mutex<State>>) {
    for stream in listener.incoming() {
        if shared.lock().unwrap().stopped {
            return;
        }
        let (Ok(stream), shared) = (stream, shared.clone()) else { continue };
        thread::spawn(move || while answer(&stream, &shared).is_some() {});
    }
}

/// Answers one request; none if the connection is done with.
fn answer(stream: &TcpStream, shared: &Mutex<State>) -> Option<()> {
    let mut reader = BufReader::new(stream);
    let mut fields = Vec::new();
    let mut line = String::new();
    reader.read_line(&mut line).ok().filter(|&octets| octets > 0)?;
    loop {
        line.clear();
        reader.read_line(&mut line).ok()?;
        let Some((name, value)) = line.trim_end().split_once(": ") else { break };
        fields.push((name.to_ascii_lowercase(), value.to_owned()));
    }
    let length = fields.iter().find(|(name, _)| name == "content-length")?;
    let mut body = vec![0; length.1.parse().ok()?];
    reader.read_exact(&mut body).ok()?;
    let mood = {
        let mut state = shared.lock().unwrap();
        // Whoever was stopped is gone, whatever still comes in.
        if state.stopped {
            return None;
        }
        let (taken, body) = (state.mood == Mood::Well, String::from_utf8(body).unwrap());
        state.calls.push(Call { fields, body, taken });
        state.mood
    };
    let status = match mood {
        Mood::Well => 204,
        Mood::Status(status) => status,
        Mood::Hangs => {
            thread::sleep(Duration::from_secs(60));
            return None;
        }
    };
    let mut stream = stream;
    write!(stream, "HTTP/1.1 {status} x\r\nContent-Length: 0\r\n\r\n").ok()
}
