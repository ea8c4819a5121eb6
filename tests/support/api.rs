//! The API of a gate: requests over a plain socket, so that the tests need no client library, and streams of events.

use super::{Gate, WAIT_MAX, wait_for};
use serde_json::Value;
use std::{
    io::{BufRead as _, BufReader, ErrorKind, Read as _, Write as _},
    net::{SocketAddr, TcpStream},
};

/// A holder of a token.
pub(crate) struct Api<'a> {
    gate: &'a Gate,
    pub(crate) token: String,
}

/// What the API answered.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    /// The lines of the header in small letters.
    pub(crate) header: String,
    pub(crate) body: Value,
}

impl Gate {
    /// Makes a token, with the options of `tollgate token create`.
    #[track_caller]
    pub(crate) fn token(&self, options: &[&str]) -> Api<'_> {
        let made = self.tollgate(&[&["token", "create"], options].concat()).well();
        Api { gate: self, token: made.trim().to_owned() }
    }
}

impl Api<'_> {
    #[track_caller]
    pub(crate) fn get(&self, path: &str) -> Answer {
        self.ask("GET", path, "")
    }

    #[track_caller]
    pub(crate) fn ask(&self, method: &str, path: &str, body: &str) -> Answer {
        ask(self.gate.api(), method, path, &self.token, body)
    }

    /// Follows the events that happen, from the one after `last` on.
    #[track_caller]
    pub(crate) fn follow(&self, query: &str, last: Option<i64>) -> Following {
        let mut stream = TcpStream::connect(self.gate.api()).unwrap();
        stream.set_read_timeout(Some(WAIT_MAX)).unwrap();
        let last = last.map(|id| format!("Last-Event-ID: {id}\r\n")).unwrap_or_default();
        let head = head("GET", &format!("/events/live{query}"), &self.token);
        write!(stream, "{head}{last}\r\n").unwrap();
        let mut lines = BufReader::new(stream);
        let mut status = String::new();
        lines.read_line(&mut status).unwrap();
        assert!(status.contains(" 200 "), "{status}");
        let mut following = Following { lines };
        // The first words come when the stream is connected to what happens.
        while following.line().is_some_and(|line| !line.starts_with(':')) {}
        following
    }
}

/// A stream of events.
pub(crate) struct Following {
    lines: BufReader<TcpStream>,
}

impl Following {
    /// The next event; none if the stream has ended.
    pub(crate) fn next(&mut self) -> Option<Value> {
        loop {
            if let Some(data) = self.line()?.strip_prefix("data: ") {
                return Some(serde_json::from_str(data).unwrap());
            }
        }
    }

    fn line(&mut self) -> Option<String> {
        let mut line = String::new();
        let count = self.lines.read_line(&mut line).unwrap_or(0);
        (count > 0).then(|| line.trim_end().to_owned())
    }
}

/// One request to the API.
#[track_caller]
pub(crate) fn ask(server: SocketAddr, method: &str, path: &str, token: &str, body: &str) -> Answer {
    let mut stream = TcpStream::connect(server).unwrap();
    stream.set_read_timeout(Some(WAIT_MAX)).unwrap();
    let (head, length) = (head(method, path, token), body.len());
    // In one piece: a server that hangs up at its beginning has heard it all.
    let request = format!("{head}Connection: close\r\nContent-Length: {length}\r\n\r\n{body}");
    stream.write_all(request.as_bytes()).unwrap();
    let mut answer = String::new();
    match stream.read_to_string(&mut answer) {
        Err(error) if error.kind() == ErrorKind::ConnectionReset => {}
        read => drop(read.unwrap()),
    }
    let (header, body) = answer.split_once("\r\n\r\n").unwrap_or((&answer, ""));
    Answer {
        status: header.split(' ').nth(1).and_then(|code| code.parse().ok()).unwrap_or(0),
        header: header.to_lowercase(),
        body: serde_json::from_str(body).unwrap_or(Value::Null),
    }
}

fn head(method: &str, path: &str, token: &str) -> String {
    format!(
        "{method} /api/v1{path} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {token}\r\n"
    )
}

/// Waits until the archive has an event, and returns it.
#[track_caller]
pub(crate) fn event_of(api: &Api<'_>, name: &str) -> Value {
    wait_for(&format!("the event {name} in the archive"), || {
        let page = api.get(&format!("/events?event={name}&max=1"));
        page.body["items"].get(0).cloned()
    })
}
