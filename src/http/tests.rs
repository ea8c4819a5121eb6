//! The routes over real sockets: a Unix socket for control, 127.0.0.1 port 0 for the public ones.

use super::*;
use crate::{
    admin::{Health, NextHopHealth, Readiness, SubjectView, fixture},
    store::BoxFuture,
    telemetry,
};
use http_body_util::{BodyExt, Full};
use hyper::{Method, Request, body::Bytes, client::conn::http1};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use std::sync::Arc;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpListener, TcpStream, UnixStream},
    sync::oneshot,
    task::JoinHandle,
};

struct Answer {
    status: u16,
    kind: String,
    body: String,
}

impl Answer {
    fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|_| panic!("not JSON: {}", self.body))
    }
}

async fn ask(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    method: Method,
    path: &str,
    body: impl Into<Bytes>,
) -> Answer {
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.unwrap();
    tokio::spawn(connection);
    let request = Request::builder().method(method).uri(path).header("host", "localhost");
    let response =
        sender.send_request(request.body(Full::new(body.into())).unwrap()).await.unwrap();
    let status = response.status().as_u16();
    let kind = response.headers()["content-type"].to_str().unwrap().to_owned();
    let body = response.into_body().collect().await.unwrap().to_bytes();
    Answer { status, kind, body: String::from_utf8(body.to_vec()).unwrap() }
}

struct Control {
    gate: fixture::Gate,
    folder: tempfile::TempDir,
    stop: oneshot::Sender<()>,
    served: JoinHandle<std::io::Result<()>>,
}

impl Control {
    fn start() -> Self {
        let (gate, folder) = (fixture::gate(), tempfile::tempdir().unwrap());
        let socket = ControlSocket::bind(&folder.path().join("control.sock")).unwrap();
        let (stop, stopped) = oneshot::channel();
        let shutdown = async { drop(stopped.await) };
        let served = tokio::spawn(serve_control(socket, gate.admin.clone(), shutdown));
        Self { gate, folder, stop, served }
    }

    async fn ask(&self, method: Method, path: &str, body: &str) -> Answer {
        let stream = UnixStream::connect(self.folder.path().join("control.sock")).await.unwrap();
        ask(stream, method, path, body.to_owned()).await
    }
}

#[tokio::test]
async fn an_account_is_changed_shown_suspended_and_resumed() {
    let control = Control::start();
    let path = "/v1/accounts/a%2Bb%40shop.example";
    let change =
        r#"{"plan":"big","limits":["account recipients 1h=7"],"reason":"trial","until":"1d"}"#;
    let view = control.ask(Method::PATCH, path, change).await;
    assert_eq!((view.status, view.kind.as_str()), (200, "application/json"), "{}", view.body);
    assert_eq!(view.json()["name"], "a+b@shop.example");
    assert_eq!(view.json()["limits"][0]["max"], 7);
    let view = control.ask(Method::PATCH, path, r#"{"plan":null}"#).await.json();
    assert_eq!(
        (&view["plan"], &view["plan_source"]),
        (&"shared-hosting".into(), &"default".into())
    );
    let suspended =
        control.ask(Method::POST, &format!("{path}/suspend"), r#"{"reason":"spam"}"#).await;
    assert_eq!(suspended.json()["state"], "suspended");
    let uid = format!("uid {}", rustix::process::getuid().as_raw());
    assert!(suspended.json()["actor"].as_str().unwrap().contains(&uid), "{}", suspended.body);
    let again = control.ask(Method::POST, &format!("{path}/suspend"), r#"{"reason":"spam"}"#).await;
    assert_eq!((again.status, again.kind.as_str()), (409, "application/problem+json"));
    let resumed = control.ask(Method::POST, &format!("{path}/resume"), r#"{"reason":"ok"}"#).await;
    let shown = control.ask(Method::GET, path, "").await;
    assert_eq!(resumed.body, shown.body);
    let typed: SubjectView = serde_json::from_str(&shown.body).unwrap();
    assert_eq!(serde_json::to_value(typed).unwrap(), shown.json(), "nothing is lost in reading");
}

#[tokio::test]
async fn explain_and_usage_have_the_same_numbers() {
    let control = Control::start();
    control.gate.send("a@shop.example", "shop.example", 50).await;
    let explained =
        control.ask(Method::GET, "/v1/accounts/a@shop.example/explain", "").await.json();
    let used = control.ask(Method::GET, "/v1/accounts/a@shop.example/usage", "").await.json();
    assert_eq!(explained["limits"], used["limits"]);
    assert_eq!(used["limits"][0]["used"], 50);
    let client = "/v1/accounts/a@shop.example/explain?client=2001:db8:1:2::5";
    let explained = control.ask(Method::GET, client, "").await.json();
    assert_eq!(explained["limits"][4]["name"], "2001:db8:1:2::/64");
    let listed = control.ask(Method::GET, "/v1/accounts?max=10", "").await.json();
    assert_eq!(
        (&listed["items"][0]["name"], &listed["next"]),
        (&"a@shop.example".into(), &Value::Null)
    );
}

#[tokio::test]
async fn what_is_wrong_is_told_as_a_problem() {
    let control = Control::start();
    let long = "x".repeat(70_000);
    for (method, path, body, status, text) in [
        (Method::GET, "/v1/nothing", "", 404, "/v1/accounts and /v1/tenants"),
        (Method::GET, "/nothing", "", 404, "no such route"),
        (Method::DELETE, "/v1/accounts/a", "", 405, "not with this method"),
        (Method::GET, "/v1/accounts/a%20b", "", 422, "is not a name"),
        (Method::GET, "/v1/accounts?max=many", "", 400, "max"),
        (Method::GET, "/v1/accounts/a/explain?client=here", "", 422, "is not an IP address"),
        (Method::GET, "/v1/tenants/a/explain", "", 404, "no such route"),
        (Method::PATCH, "/v1/accounts/a", "{", 400, "the body"),
        (Method::PATCH, "/v1/accounts/a", r#"{"plna":"x"}"#, 400, "unknown field `plna`"),
        (Method::PATCH, "/v1/accounts/a", r#"{"plan":"x"}"#, 422, "there is no plan x"),
        (Method::PATCH, "/v1/accounts/a", &long, 413, ""),
        (Method::POST, "/v1/accounts/a/suspend", "{}", 400, "reason"),
        (Method::POST, "/v1/accounts/a/suspend", r#"{"reason":" "}"#, 422, "a reason is needed"),
        (
            Method::PATCH,
            "/v1/accounts/a",
            r#"{"limits":["account recipients 1h=5"],"reason":"x","until":"9999999d"}"#,
            422,
            "ten years",
        ),
        (
            Method::POST,
            "/v1/tokens",
            r#"{"name":"x","role":"operator","expires":"9999999d"}"#,
            422,
            "ten years",
        ),
    ] {
        let answer = control.ask(method.clone(), path, body).await;
        assert_eq!(answer.status, status, "{method} {path}: {}", answer.body);
        assert!(answer.body.contains(text), "{method} {path}: {}", answer.body);
        if status != 413 {
            assert_eq!(
                (answer.kind.as_str(), &answer.json()["status"]),
                ("application/problem+json", &status.into())
            );
        }
    }
    assert!(control.gate.told.lock().is_empty());
}

#[tokio::test]
async fn the_socket_goes_when_the_gate_stops() {
    let control = Control::start();
    assert_eq!(control.ask(Method::GET, "/v1/health", "").await.status, 200);
    control.stop.send(()).unwrap();
    control.served.await.unwrap().unwrap();
    assert!(!control.folder.path().join("control.sock").exists());
}

struct Is(Readiness);

impl Health for Is {
    fn readiness(&self) -> BoxFuture<'_, Readiness> {
        Box::pin(std::future::ready(self.0.clone()))
    }
}

async fn public(readiness: Readiness, path: &str) -> Answer {
    let folder = tempfile::tempdir().unwrap();
    let settings = telemetry::Settings {
        lines_per_client_minute: 0,
        format: telemetry::LogFormat::Text,
        level: tracing::Level::INFO,
        file: Some(folder.path().join("log")),
        recipients: telemetry::LogRecipients::Clear,
    };
    let telemetry = telemetry::start(&settings).unwrap();
    let state = PublicState { metrics: telemetry.metrics(), health: Arc::new(Is(readiness)) };
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(serve_public(listener, state, std::future::pending()));
    ask(TcpStream::connect(address).await.unwrap(), Method::GET, path, "").await
}

fn readiness(usable: bool) -> Readiness {
    let next_hop = NextHopHealth {
        next_hop: "mx:25".into(),
        usable,
        detail: Some("refused".into()),
        egress: Vec::new(),
        avoided: None,
    };
    Readiness {
        store_failure: None,
        listening_failure: None,
        logins_failure: None,
        events_failure: None,
        next_hops: vec![next_hop],
        draining: false,
    }
}

#[tokio::test]
async fn health_and_metrics_are_public() {
    let ready = public(readiness(true), "/health/ready").await;
    assert_eq!((ready.status, &ready.json()["status"]), (200, &"ready".into()));
    let not = public(readiness(false), "/health/ready").await;
    assert_eq!((not.status, &not.json()["missing"][0]), (503, &"no next hop is usable".into()));
    assert_eq!(public(readiness(false), "/health/live").await.status, 200);
    let metrics = public(readiness(true), "/metrics").await;
    assert!(metrics.kind.starts_with("text/plain; version=0.0.4"), "{}", metrics.kind);
    assert!(metrics.body.contains("tollgate_store_up 1"));
    assert_eq!(public(readiness(true), "/v1/accounts").await.status, 404);
}
