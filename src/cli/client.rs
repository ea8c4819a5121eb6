//! Asks the running gate over its control socket.

use super::CliError;
use http_body_util::{BodyExt, Full, Limited};
use hyper::{
    Method, Request, StatusCode,
    body::Bytes,
    client::conn::http1,
    header::{CONTENT_TYPE, HOST},
};
use hyper_util::rt::TokioIo;
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use std::{
    fmt::Write,
    path::{Path, PathBuf},
    time::Duration,
};
use tokio::net::UnixStream;

/// A gate that can be asked.
pub(super) struct Client {
    socket: PathBuf,
    patience: Duration,
    runtime: tokio::runtime::Runtime,
}

impl Client {
    pub(super) fn new(socket: PathBuf) -> Result<Self, CliError> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.map_err(|error| CliError::Failed(format!("start: {error}")))?;
        Ok(Self { socket, patience: ANSWER_TIME_MAX, runtime })
    }

    /// The same, for what may take long.
    pub(super) const fn patient(mut self) -> Self {
        self.patience = LONG_ANSWER_TIME_MAX;
        self
    }

    pub(super) fn read<T: DeserializeOwned>(&self, path: &str) -> Result<T, CliError> {
        self.ask(Method::GET, path, Bytes::new())
    }

    pub(super) fn send<T: DeserializeOwned>(
        &self,
        method: Method,
        path: &str,
        body: &impl Serialize,
    ) -> Result<T, CliError> {
        let body = serde_json::to_vec(body)
            .map_err(|error| CliError::Failed(format!("encode the request: {error}")))?;
        self.ask(method, path, body.into())
    }

    /// Posts octets as they are.
    pub(super) fn post<T: DeserializeOwned>(
        &self,
        path: &str,
        body: Vec<u8>,
    ) -> Result<T, CliError> {
        self.ask(Method::POST, path, body.into())
    }

    fn ask<T: DeserializeOwned>(
        &self,
        method: Method,
        path: &str,
        body: Bytes,
    ) -> Result<T, CliError> {
        // A time-out is made inside the runtime that wakes it.
        let exchange = exchange(&self.socket, method, path, body);
        let exchange = async { tokio::time::timeout(self.patience, exchange).await };
        let (status, answer) = self.runtime.block_on(exchange).map_err(|_| {
            CliError::Unreachable(format!("the gate at {} does not answer", self.socket.display()))
        })??;
        if status.is_success() {
            let wrong =
                |error| CliError::Failed(format!("the gate's answer makes no sense: {error}"));
            serde_json::from_slice(&answer).map_err(wrong)
        } else {
            Err(CliError::Failed(problem_text(status, &answer)))
        }
    }
}

async fn exchange(
    socket: &Path,
    method: Method,
    path: &str,
    body: Bytes,
) -> Result<(StatusCode, Bytes), CliError> {
    let lost = |error: hyper::Error| {
        CliError::Unreachable(format!("the gate at {} broke off: {error}", socket.display()))
    };
    let stream =
        UnixStream::connect(socket).await.map_err(|error| unreachable_gate(socket, &error))?;
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(lost)?;
    // The connection's errors come out of the request as well.
    let connection = tokio::spawn(async move { drop(connection.await) });
    let request = Request::builder()
        .method(method)
        .uri(path)
        .header(HOST, "localhost")
        .header(CONTENT_TYPE, "application/json")
        .body(Full::new(body))
        .map_err(|error| CliError::Failed(format!("build the request: {error}")))?;
    let response = sender.send_request(request).await.map_err(lost)?;
    let status = response.status();
    let body = Limited::new(response.into_body(), ANSWER_BYTES_MAX).collect().await;
    connection.abort();
    body.map(|body| (status, body.to_bytes())).map_err(|error| {
        CliError::Unreachable(format!("the gate at {} broke off: {error}", socket.display()))
    })
}

fn unreachable_gate(socket: &Path, error: &std::io::Error) -> CliError {
    let hint = match error.kind() {
        std::io::ErrorKind::NotFound | std::io::ErrorKind::ConnectionRefused => {
            "is it running, and is this its control socket? (--socket PATH, or --config FILE)"
        }
        std::io::ErrorKind::PermissionDenied => {
            "only the user that runs the gate and root may ask it"
        }
        _ => "see --socket and --config",
    };
    CliError::Unreachable(format!("cannot reach the gate at {}: {error}; {hint}", socket.display()))
}

/// What is read of the gate's problem details (RFC 9457).
#[derive(Deserialize)]
struct Problem {
    #[serde(default)]
    detail: String,
}

fn problem_text(status: StatusCode, answer: &[u8]) -> String {
    let problem: Option<Problem> = serde_json::from_slice(answer).ok();
    let detail = problem.map(|problem| problem.detail).filter(|detail| !detail.is_empty());
    detail.unwrap_or_else(|| format!("the gate answered {status}"))
}

/// A name as one segment of a path (RFC 3986 §2.3: all but unreserved characters are encoded).
pub(super) fn segment(name: &str) -> String {
    let mut text = String::with_capacity(name.len());
    for octet in name.bytes() {
        if octet.is_ascii_alphanumeric() || matches!(octet, b'-' | b'.' | b'_' | b'~') {
            text.push(char::from(octet));
        } else {
            // Writing to a string cannot fail.
            let _ = write!(text, "%{octet:02X}");
        }
    }
    text
}

/// How long the gate may take for an answer.
const ANSWER_TIME_MAX: Duration = Duration::from_secs(60);
/// The same of what copies or reads all there is.
const LONG_ANSWER_TIME_MAX: Duration = Duration::from_secs(4 * 3_600);
/// The longest answer that is read.
const ANSWER_BYTES_MAX: usize = 64 * 1024 * 1024;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_one_segment() {
        assert_eq!(segment("a/b@shop.example?x=ü"), "a%2Fb%40shop.example%3Fx%3D%C3%BC");
    }

    #[test]
    fn a_gate_that_is_not_there_is_unreachable() {
        let client = Client::new("/nonexistent/control.sock".into()).unwrap();
        let error = client.read::<serde_json::Value>("/v1/health").unwrap_err();
        assert!(matches!(error, CliError::Unreachable(_)), "{error}");
    }
}
