//! Every route of the document over a real socket: who is let in, what a tenant sees, and that the document says so.

use super::*;
use crate::{
    admin::{TokenRequest, create_token, fixture},
    net::Listener,
    store::archive::{Batch, NewEvent},
    types::{Actor, Role, Timestamp, Via},
};
use http_body_util::{BodyExt as _, Full};
use hyper::{Method, Request, body::Bytes, client::conn::http1};
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use std::{collections::BTreeSet, net::SocketAddr, num::NonZeroU32, sync::Arc, time::Duration};
use tokio::net::TcpStream;

/// An API with a token of each role, of which the tenant's is for `shop.example`.
pub(super) struct Api {
    pub(super) gate: fixture::Gate,
    address: SocketAddr,
    tokens: Vec<(Role, String)>,
}

pub(super) struct Heard {
    pub(super) status: u16,
    kind: String,
    challenge: bool,
    pub(super) body: Value,
}

impl Api {
    pub(super) async fn start() -> Self {
        Self::start_paced(100_000, 100_000).await
    }

    pub(super) async fn start_paced(per_token: u32, failures: u32) -> Self {
        let gate = fixture::gate();
        let listener = Listener::bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let address = listener.address();
        let rules = PaceRules {
            per_token_minute: NonZeroU32::new(per_token).unwrap(),
            failures_per_minute: NonZeroU32::new(failures).unwrap(),
        };
        let state = ApiState::new(gate.admin.clone(), rules);
        let listener = ApiListener::new(listener, None);
        tokio::spawn(serve_api(listener, state, std::future::pending()));
        let mut tokens = Vec::new();
        for role in ROLES {
            let tenant = (role == Role::Tenant).then(|| "shop.example".parse().unwrap());
            let name = role.name().parse().unwrap();
            let request = TokenRequest { name, role, tenant, expires: None, reason: None };
            let made = create_token(&gate.admin, &request, &Actor::new(Via::ControlSocket, "op"))
                .await
                .unwrap();
            tokens.push((role, made.secret));
        }
        gate.told.lock().clear();
        Self { gate, address, tokens }
    }

    fn token(&self, role: Role) -> &str {
        &self.tokens.iter().find(|(other, _)| *other == role).unwrap().1
    }

    pub(super) async fn get(&self, role: Role, path: &str) -> Heard {
        self.ask(Some(self.token(role)), Method::GET, path, None).await
    }

    pub(super) async fn send(&self, role: Role, method: Method, path: &str, body: Value) -> Heard {
        self.ask(Some(self.token(role)), method, path, Some(body)).await
    }

    async fn ask(
        &self,
        token: Option<&str>,
        method: Method,
        path: &str,
        body: Option<Value>,
    ) -> Heard {
        let stream = TcpStream::connect(self.address).await.unwrap();
        let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.unwrap();
        tokio::spawn(connection);
        let mut request = Request::builder()
            .method(method)
            .uri(format!("/api/v1{path}"))
            .header("host", "localhost")
            .header("content-type", "application/json");
        if let Some(token) = token {
            request = request.header("authorization", format!("Bearer {token}"));
        }
        let body = body.map(|body| body.to_string()).unwrap_or_default();
        let request = request.body(Full::new(Bytes::from(body))).unwrap();
        let response = sender.send_request(request).await.unwrap();
        let header = |name: &str| response.headers().get(name).map(|v| v.to_str().unwrap());
        let kind = header("content-type").unwrap_or_default().to_owned();
        let challenge = header("www-authenticate") == Some("Bearer realm=\"tollgate\"");
        assert_eq!(header("cache-control"), Some("no-store"), "{path}");
        let status = response.status().as_u16();
        // A stream of events has no end.
        let body = if kind == "text/event-stream" {
            Value::Null
        } else {
            let octets = response.into_body().collect().await.unwrap().to_bytes();
            serde_json::from_slice(&octets)
                .unwrap_or_else(|_| Value::from(String::from_utf8_lossy(&octets)))
        };
        Heard { status, kind, challenge, body }
    }
}

const ROLES: [Role; 3] = [Role::Operator, Role::ReadOnly, Role::Tenant];

/// One operation of the document.
struct Operation {
    method: Method,
    path: String,
    roles: BTreeSet<String>,
    statuses: BTreeSet<String>,
    /// Parameters behind the `?`.
    query: Vec<String>,
    has_body: bool,
}

fn operations() -> Vec<Operation> {
    let document = serde_json::to_value(routes().into_openapi()).unwrap();
    let mut found = Vec::new();
    for (path, item) in document["paths"].as_object().unwrap() {
        for (method, operation) in item.as_object().unwrap() {
            let words = |value: &Value| -> BTreeSet<String> {
                value.as_array().into_iter().flatten().map(|w| w.as_str().unwrap().into()).collect()
            };
            let parameters = operation["parameters"].as_array().into_iter().flatten();
            let query = parameters.filter(|p| p["in"] == "query");
            found.push(Operation {
                method: method.to_uppercase().parse().unwrap(),
                path: path.clone(),
                roles: words(&operation["security"][0]["token"]),
                statuses: operation["responses"].as_object().unwrap().keys().cloned().collect(),
                query: query.map(|p| p["name"].as_str().unwrap().to_owned()).collect(),
                has_body: operation.get("requestBody").is_some(),
            });
        }
    }
    assert!(found.len() > 10, "the test finds the operations no longer");
    found
}

/// Whose names stand in a path.
#[derive(Clone, Copy, PartialEq)]
enum Whose {
    Own,
    /// Another tenant's, who exists.
    Others,
    /// Of nobody.
    Nobodys,
}

impl Operation {
    fn name(&self) -> String {
        format!("{} {}", self.method, self.path)
    }

    /// The path with names in it. Who adds a resource with names of another kind says here what stands for them.
    fn path_of(&self, whose: Whose) -> String {
        let tenant = match whose {
            Whose::Own => "shop.example",
            Whose::Others => "other.example",
            Whose::Nobodys => "nobody.example",
        };
        let path = self.path.replace("{tenant}", tenant);
        let path = path.replace("{account}", &format!("a@{tenant}"));
        let path = path.replace("{maintenance}", "7").replace("{subject}", "192.0.2.25");
        let path = path.replace("{case}", "TG-0000-0000").replace("{client}", "192.0.2.7");
        let path = path.replace("{address}", "192.0.2.25").replace("{offence}", "1");
        assert!(!path.contains('{'), "{}: say in path_of what stands for its names", self.path);
        path
    }

    /// True if it is about somebody whose name stands in its path.
    fn names_somebody(&self) -> bool {
        self.path.contains("{tenant}") || self.path.contains("{account}")
    }

    /// A body that every change takes as far as who asks is concerned.
    fn body(&self) -> Option<Value> {
        self.has_body.then(|| json!({ "reason": "test" }))
    }
}

impl Api {
    async fn try_operation(
        &self,
        operation: &Operation,
        token: Option<&str>,
        whose: Whose,
    ) -> Heard {
        let path = operation.path_of(whose);
        let heard = self.ask(token, operation.method.clone(), &path, operation.body()).await;
        let (name, status) = (operation.name(), heard.status.to_string());
        assert!(operation.statuses.contains(&status), "{name}: {status} is not in the document");
        if heard.status >= 400 {
            assert_eq!(heard.kind, "application/problem+json", "{name}");
            assert_eq!(heard.body["status"], heard.status, "{name}");
        }
        heard
    }

    /// An account of the tenant was suspended some time.
    async fn offend(&self, tenant: &str) {
        let offence = crate::store::archive::NewOffence {
            at: self.gate.admin.clock.utc(),
            tenant: tenant.parse().unwrap(),
            account: format!("a@{tenant}").parse().ok(),
            severity: crate::store::archive::Severity::Medium,
            kind: "suspended".into(),
            case: None,
            detail: "sends spam".into(),
        };
        let batch = crate::store::archive::Batch { offences: vec![offence], ..Default::default() };
        self.gate.admin.archive.keep(Arc::new(batch)).await.unwrap();
    }

    /// Both have sent and offended, so that they exist.
    async fn with_senders() -> Self {
        let api = Self::start().await;
        for tenant in ["shop.example", "other.example"] {
            api.gate.send(&format!("a@{tenant}"), tenant, 1).await;
            api.offend(tenant).await;
        }
        api
    }
}

#[tokio::test]
async fn nobody_is_let_in_without_a_token() {
    let api = Api::with_senders().await;
    let strange = format!("tollgate_{}", "A".repeat(43));
    for operation in operations() {
        for token in [None, Some(""), Some("x"), Some(strange.as_str())] {
            let heard = api.try_operation(&operation, token, Whose::Own).await;
            let seen = (heard.status, heard.challenge);
            assert_eq!(seen, (401, true), "{} with {token:?}", operation.name());
        }
    }
    // Not even what there is, is told.
    assert_eq!(api.ask(None, Method::GET, "/nothing", None).await.status, 401);
    assert_eq!(api.get(Role::Tenant, "/nothing").await.status, 404);
    assert!(api.gate.told.lock().iter().all(|event| event == "token-refused"));
}

#[tokio::test]
async fn each_role_may_do_what_the_document_says_and_nothing_else() {
    for operation in operations() {
        let api = Api::with_senders().await;
        assert!(!operation.roles.is_empty(), "{} names no role", operation.name());
        for role in ROLES {
            let heard = api.try_operation(&operation, Some(api.token(role)), Whose::Own).await;
            let may = operation.roles.contains(role.name());
            let refused = [401, 403].contains(&heard.status);
            assert_eq!(may, !refused, "{} as {role}: {}", operation.name(), heard.body);
            assert!(may || heard.status == 403, "{} as {role}", operation.name());
            let is_found = heard.status != 404 || !operation.names_somebody();
            assert!(!may || is_found, "{} as {role}: own names", operation.name());
        }
        // A look is asked for with a body, because addresses do not belong into an URL; it changes nothing.
        let changes = operation.method != Method::GET && operation.path != "/trace";
        let only_operator = operation.roles.iter().all(|role| role == "operator");
        assert!(!changes || only_operator, "{} changes something", operation.name());
    }
}

#[tokio::test]
async fn another_tenants_names_are_as_good_as_nobodys() {
    let api = Api::with_senders().await;
    let token = Some(api.token(Role::Tenant));
    for operation in operations().iter().filter(|operation| operation.names_somebody()) {
        let others = api.try_operation(operation, token, Whose::Others).await;
        let nobodys = api.try_operation(operation, token, Whose::Nobodys).await;
        let expected = if operation.roles.contains("tenant") { 404 } else { 403 };
        assert_eq!(others.status, expected, "{}: {}", operation.name(), others.body);
        assert_eq!(others.body, nobodys.body, "{}", operation.name());
    }
    for operation in operations().iter().filter(|operation| operation.roles.contains("tenant")) {
        for (key, value) in [("tenant", "other.example"), ("account", "a@other.example")] {
            if operation.query.iter().any(|name| name == key) {
                let path = format!("{}?{key}={value}", operation.path_of(Whose::Own));
                let heard = api.get(Role::Tenant, &path).await;
                assert_eq!(heard.status, 404, "{path}: {}", heard.body);
            }
        }
    }
    assert!(api.gate.told.lock().is_empty());
}

#[tokio::test]
async fn requests_are_paced() {
    let api = Api::start_paced(3, 2).await;
    for expected in [200, 200, 200, 429] {
        assert_eq!(api.get(Role::ReadOnly, "/me").await.status, expected);
    }
    for expected in [401, 401, 429] {
        assert_eq!(api.ask(Some("x"), Method::GET, "/me", None).await.status, expected);
    }
    // Others at the same address are not put off by that.
    assert_eq!(api.get(Role::Operator, "/me").await.status, 200);
    assert_eq!(*api.gate.told.lock(), ["token-refused", "token-refused"]);
}

#[tokio::test]
async fn an_account_is_changed_shown_suspended_and_resumed() {
    let api = Api::start().await;
    let path = "/accounts/a%2Bb%40shop.example";
    let change = json!({
        "plan": "big", "limits": ["account recipients 1h=7"], "reason": "trial", "until": "1d",
    });
    let view = api.send(Role::Operator, Method::PATCH, path, change).await;
    assert_eq!((view.status, view.kind.as_str()), (200, "application/json"), "{}", view.body);
    assert_eq!((&view.body["limits"][0]["max"], &view.body["plan"]), (&json!(7), &json!("big")));
    assert_eq!(view.body["overrides"][0]["actor"], "token operator");
    let suspend = format!("{path}/suspend");
    let why = json!({ "reason": "spam" });
    let suspended = api.send(Role::Operator, Method::POST, &suspend, why.clone()).await;
    assert_eq!(suspended.body["actor"], "token operator");
    let again = api.send(Role::Operator, Method::POST, &suspend, why.clone()).await;
    assert_eq!((again.status, again.kind.as_str()), (409, "application/problem+json"));
    let seen = api.get(Role::Tenant, path).await.body;
    assert_eq!((&seen["state"], &seen["reason"]), (&json!("suspended"), &json!("spam")));
    assert_eq!(
        (&seen["actor"], &seen["overrides"][0]["actor"]),
        (&json!("operator"), &json!("operator"))
    );
    let resume = format!("{path}/resume");
    let resumed = api.send(Role::Operator, Method::POST, &resume, why).await;
    assert_eq!(resumed.body, api.get(Role::Operator, path).await.body);
    let empty = api.send(Role::Operator, Method::POST, &suspend, json!({ "reason": " " })).await;
    assert_eq!(empty.status, 422);
    let large =
        api.send(Role::Operator, Method::POST, &suspend, json!({ "reason": "x".repeat(70_000) }));
    assert_eq!(large.await.status, 413);
}

#[tokio::test]
async fn who_was_to_leave_can_stay() {
    let api = Api::start().await;
    let why = json!({ "reason": "contract ended" });
    for (path, subject) in [
        ("/tenants/shop.example", "tenant shop.example"),
        ("/accounts/a%40shop.example", "account a@shop.example"),
    ] {
        let (close, stay) = (format!("{path}/close"), format!("{path}/stay"));
        let early = api.send(Role::Operator, Method::POST, &stay, why.clone()).await;
        assert_eq!(early.status, 409, "{}", early.body);
        let closed = api.send(Role::Operator, Method::POST, &close, why.clone()).await;
        assert_eq!(closed.status, 200, "{}", closed.body);
        assert_eq!(api.get(Role::ReadOnly, "/closings").await.body[0]["subject"], subject);
        let refused = api.send(Role::Tenant, Method::POST, &stay, why.clone()).await;
        assert_eq!(refused.status, 403, "{}", refused.body);
        let stays = api.send(Role::Operator, Method::POST, &stay, why.clone()).await;
        assert_eq!((stays.status, &stays.body["due"]), (200, &Value::Null), "{}", stays.body);
        assert_eq!(api.get(Role::ReadOnly, "/closings").await.body, json!([]));
    }
}

#[tokio::test]
async fn who_is_held_is_not_erased_until_released() {
    let api = Api::start().await;
    let why = json!({ "reason": "a court asks" });
    let erase = json!({ "reason": "asked for it", "yes": true });
    for path in ["/accounts/a%40shop.example", "/tenants/shop.example"] {
        let (hold, release) = (format!("{path}/hold"), format!("{path}/release"));
        let none = api.send(Role::Operator, Method::POST, &release, why.clone()).await;
        assert_eq!(none.status, 409, "{}", none.body);
        let refused = api.send(Role::Tenant, Method::POST, &hold, why.clone()).await;
        assert_eq!(refused.status, 403, "{}", refused.body);
        let held = api.send(Role::Operator, Method::POST, &hold, why.clone()).await;
        assert_eq!((held.status, &held.body["reason"]), (200, &json!("a court asks")));
        let listed = api.get(Role::ReadOnly, "/privacy/holds").await.body;
        assert_eq!(listed.as_array().map(Vec::len), Some(1), "{listed}");
        let erase_path = "/accounts/a%40shop.example/erase";
        let kept = api.send(Role::Operator, Method::POST, erase_path, erase.clone()).await;
        assert_eq!(kept.status, 409, "{}", kept.body);
        let released = api.send(Role::Operator, Method::POST, &release, why.clone()).await;
        assert_eq!(released.status, 200, "{}", released.body);
        assert_eq!(api.get(Role::ReadOnly, "/privacy/holds").await.body, json!([]));
    }
}

#[tokio::test]
async fn an_offence_that_was_a_mistake_is_withdrawn_by_an_operator() {
    let api = Api::start().await;
    let why = json!({ "reason": "sends spam" });
    api.offend("shop.example").await;
    let offences = api.get(Role::ReadOnly, "/tenants/shop.example/offences").await.body;
    let one = &offences["offences"][0];
    assert_eq!((&offences["suspensions"], &one["withdrawn"]), (&json!(1), &json!(false)));
    let path = format!("/tenants/shop.example/offences/{}/withdraw", one["number"]);
    let refused = api.send(Role::Tenant, Method::POST, &path, why.clone()).await;
    assert_eq!(refused.status, 403, "{}", refused.body);
    for (wrong, status) in [("x", 422), ("999", 404)] {
        let path = format!("/tenants/shop.example/offences/{wrong}/withdraw");
        let heard = api.send(Role::Operator, Method::POST, &path, why.clone()).await;
        assert_eq!(heard.status, status, "{}", heard.body);
    }
    let after = api.send(Role::Operator, Method::POST, &path, why).await;
    assert_eq!((after.status, &after.body["suspensions"]), (200, &json!(0)), "{}", after.body);
    assert_eq!(after.body["offences"][0]["withdrawn"], true);
}

fn happened(name: &'static str, tenant: &str) -> crate::store::archive::NewEvent {
    let (at, account) = (crate::types::Timestamp::EPOCH, format!("a@{tenant}"));
    let body = format!(r#"{{"time":"t","event":"{name}","account":"{account}","actor":"alice"}}"#);
    let (tenant, account) = (tenant.parse().ok(), account.parse().ok());
    crate::store::archive::NewEvent {
        at,
        name: name.into(),
        tenant,
        account,
        marks: Vec::new(),
        body,
    }
}

#[tokio::test]
async fn a_tenant_sees_the_events_of_its_own_matters() {
    let api = Api::start().await;
    let both = ["shop.example", "other.example"];
    let events = ["message", "suspended", "token-created"];
    let events = both.iter().flat_map(|tenant| events.map(|name| happened(name, tenant)));
    let batch = crate::store::archive::Batch { events: events.collect(), ..Default::default() };
    api.gate.admin.archive.keep(Arc::new(batch)).await.unwrap();
    let seen = |page: Heard| -> Vec<(i64, String)> {
        assert_eq!(page.status, 200, "{}", page.body);
        let items = page.body["items"].as_array().unwrap().clone();
        let item = |item: &Value| (item["id"].as_i64().unwrap(), item["event"].to_string());
        items.iter().map(item).collect()
    };
    let words = |found: Vec<(i64, String)>| {
        found
            .into_iter()
            .map(|(id, name)| format!("{id} {}", name.trim_matches('"')))
            .collect::<Vec<_>>()
    };
    let own = words(seen(api.get(Role::Tenant, "/events").await));
    assert_eq!(own, ["2 suspended", "1 message"]);
    for path in ["/events?event=token-created", "/events?event=", "/events?event=login-failed"] {
        assert_eq!(seen(api.get(Role::Tenant, path).await), [], "{path}");
    }
    let all = words(seen(api.get(Role::ReadOnly, "/events?order=oldest&max=4").await));
    assert_eq!(all, ["1 message", "2 suspended", "3 token-created", "4 message"]);
    let page = api.get(Role::ReadOnly, "/events?order=oldest&max=4").await.body;
    let rest = format!("/events?order=oldest&max=4&after={}", page["next"].as_str().unwrap());
    let rest = api.get(Role::ReadOnly, &rest).await;
    assert_eq!(rest.body["next"], Value::Null);
    assert_eq!(words(seen(rest)), ["5 suspended", "6 token-created"]);
    let narrow = "/events?tenant=other.example&event=suspended,message&account=a@other.example";
    assert_eq!(words(seen(api.get(Role::Operator, narrow).await)), ["5 suspended", "4 message"]);
    let facts = |page: Heard| page.body["items"][0]["facts"].clone();
    assert_eq!(
        facts(api.get(Role::Tenant, "/events").await),
        json!({ "account": "a@shop.example" })
    );
    let whole = facts(api.get(Role::ReadOnly, "/events").await);
    assert_eq!(whole, json!({ "account": "a@other.example", "actor": "alice" }));
}

#[tokio::test]
async fn a_list_has_a_tenants_own_accounts() {
    let api = Api::with_senders().await;
    let moved = json!({ "tenant": "shop.example" });
    api.send(Role::Operator, Method::PATCH, "/accounts/z@far.example", moved).await;
    let away = json!({ "tenant": "far.example" });
    api.gate.send("b@shop.example", "shop.example", 1).await;
    api.send(Role::Operator, Method::PATCH, "/accounts/b@shop.example", away).await;
    let names = |page: Heard| -> Vec<String> {
        let items = page.body["items"].as_array().unwrap().clone();
        items.iter().map(|item| item["name"].as_str().unwrap().to_owned()).collect()
    };
    let own = ["a@shop.example", "z@far.example"];
    assert_eq!(names(api.get(Role::Tenant, "/accounts").await), own);
    assert_eq!(names(api.get(Role::Operator, "/accounts?tenant=shop.example").await), own);
    assert_eq!(
        names(api.get(Role::Operator, "/accounts?tenant=far.example").await),
        ["b@shop.example"]
    );
    assert_eq!(names(api.get(Role::Operator, "/accounts").await).len(), 4);
    let first = api.get(Role::Tenant, "/accounts?max=1").await;
    assert_eq!(first.body["next"], "a@shop.example");
    assert_eq!(
        names(api.get(Role::Tenant, "/accounts?max=2&after=a@shop.example").await),
        own[1..]
    );
}

#[test]
fn the_document_is_current() {
    let document = document();
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/openapi.json");
    if std::env::var_os("UPDATE").is_some() {
        std::fs::write(path, &document).unwrap();
    }
    let committed = std::fs::read_to_string(path).unwrap_or_default();
    assert!(
        committed == document,
        "UPDATE=1 cargo test --lib http::api writes docs/openapi.json anew"
    );
}

#[test]
fn the_document_says_of_every_operation_what_it_is() {
    let document = serde_json::to_value(routes().into_openapi()).unwrap();
    let mut ids = BTreeSet::new();
    for (path, item) in document["paths"].as_object().unwrap() {
        for (method, operation) in item.as_object().unwrap() {
            let id = operation["operationId"].as_str().unwrap_or_default().to_owned();
            assert!(
                !id.is_empty() && ids.insert(id),
                "{method} {path} needs an operation_id of its own"
            );
            let text = operation.to_string();
            for reference in text.split("\"#/").skip(1).filter_map(|rest| rest.split('"').next()) {
                let found = document.pointer(&format!("/{reference}"));
                assert!(found.is_some(), "{method} {path}: there is no {reference}");
            }
            assert!(operation["summary"].is_string(), "{method} {path} has no summary");
        }
    }
}

#[tokio::test]
async fn a_time_beyond_all_records_is_refused() {
    let api = Api::with_senders().await;
    for far in ["9999999d", "9999-01-01T00:00:00Z"] {
        let gets = ["/events?since", "/events?until", "/audit?since", "/audit?until"];
        let mut heard = Vec::new();
        for path in gets.into_iter().chain(["/complaints?since"]) {
            heard.push(api.get(Role::Operator, &format!("{path}={far}")).await);
        }
        let account = "/accounts/a@shop.example";
        for (method, path, body) in [
            (Method::POST, "/trace", json!({ "of": "a@shop.example", "since": far })),
            (Method::POST, "/complaints", json!({ "account": "a@shop.example", "arrived": far })),
            (Method::POST, "/maintenance", json!({ "until": far, "reason": "x" })),
            (
                Method::PATCH,
                account,
                json!({ "limits": ["account recipients 1h=7"], "until": far, "reason": "x" }),
            ),
        ] {
            heard.push(api.send(Role::Operator, method, path, body).await);
        }
        for heard in heard {
            assert_eq!(heard.status, 422, "{}", heard.body);
            assert!(heard.body["detail"].as_str().unwrap().contains("ten years"), "{}", heard.body);
        }
    }
}

/// What is asked for with these is the matter of several tenants.
const STAFF_PARAMETERS: [(&str, &str); 1] = [("client", "192.0.2.7")];

#[tokio::test]
async fn what_concerns_several_tenants_is_not_for_a_tenants_token() {
    let api = Api::with_senders().await;
    let mut asked = 0;
    for operation in operations().iter().filter(|operation| operation.roles.contains("tenant")) {
        for (key, value) in STAFF_PARAMETERS {
            if operation.query.iter().any(|name| name == key) {
                let path = format!("{}?{key}={value}", operation.path_of(Whose::Own));
                assert_eq!(api.get(Role::Tenant, &path).await.status, 403, "{path}");
                assert_eq!(api.get(Role::ReadOnly, &path).await.status, 200, "{path}");
                let others = format!("{}?{key}={value}", operation.path_of(Whose::Others));
                assert_eq!(api.get(Role::Tenant, &others).await.status, 404, "{others}");
                asked += 1;
            }
        }
    }
    assert!(asked > 0, "the test finds the parameters no longer");
}

#[tokio::test]
async fn maintenance_that_is_not_there_cannot_be_ended() {
    let api = Api::start().await;
    let why = json!({ "reason": "done" });
    let heard = api.send(Role::Operator, Method::POST, "/maintenance/999/end", why).await;
    assert_eq!(heard.status, 404, "{}", heard.body);
}

#[test]
fn the_document_says_bounds_in_numbers() {
    let text = document();
    let linked = text.lines().find(|line| line.contains("[`"));
    assert_eq!(linked, None, "whoever reads the document does not know our constants");
    let document: Value = serde_json::from_str(&text).unwrap();
    for (path, max) in [
        ("/accounts", crate::admin::PAGE_MAX),
        ("/tenants", crate::admin::PAGE_MAX),
        ("/reports", crate::admin::REPORT_PAGE_MAX),
        ("/events", crate::store::archive::EVENTS_PAGE_MAX),
        ("/audit", crate::store::archive::AUDIT_PAGE_MAX),
        ("/complaints", crate::store::archive::COMPLAINTS_PAGE_MAX),
    ] {
        let parameters = document["paths"][path]["get"]["parameters"].as_array().unwrap();
        let parameter = parameters.iter().find(|parameter| parameter["name"] == "max").unwrap();
        let bounds = (&parameter["schema"]["minimum"], &parameter["schema"]["maximum"]);
        assert_eq!(bounds, (&json!(1), &json!(max)), "{path}");
    }
    let max = &document["components"]["schemas"]["TraceRequest"]["properties"]["max"];
    let bounds = (&max["minimum"], &max["maximum"]);
    assert_eq!(bounds, (&json!(1), &json!(crate::store::archive::TRACE_PAGE_MAX)));
}

impl Api {
    /// The head of the answer to a request for a page; the stream goes on as long as it is held.
    async fn page(&self, head: &str, body: &str) -> (String, TcpStream) {
        use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
        let mut stream = TcpStream::connect(self.address).await.unwrap();
        let length = body.len();
        let request =
            format!("{head}\r\nHost: localhost\r\nContent-Length: {length}\r\n\r\n{body}");
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut read = Vec::new();
        while !read.windows(4).any(|four| four == b"\r\n\r\n") {
            assert!(stream.read_buf(&mut read).await.unwrap() > 0, "{head}");
        }
        (String::from_utf8_lossy(&read).into_owned(), stream)
    }

    /// A stream of a page or of the API, if there is room for it.
    async fn open_stream(&self, head: &str) -> Option<TcpStream> {
        let (answer, stream) = self.page(head, "").await;
        answer.starts_with("HTTP/1.1 200 ").then_some(stream)
    }
}

#[tokio::test]
async fn pages_and_api_share_their_streams() {
    let api = Api::start().await;
    let token = api.token(Role::Tenant);
    let form = "POST /login HTTP/1.1\r\nContent-Type: application/x-www-form-urlencoded";
    let (signed_in, _) = api.page(form, &format!("token={token}")).await;
    let cookie = signed_in.split("set-cookie: ").nth(1).unwrap().split(';').next().unwrap();
    let live = format!("GET /live HTTP/1.1\r\nCookie: {cookie}");
    let events = format!("GET /api/v1/events/live HTTP/1.1\r\nAuthorization: Bearer {token}");
    let mut open = Vec::new();
    for head in [&live, &events].into_iter().cycle().take(8) {
        open.push(api.open_stream(head).await.expect("there is room for eight of one token"));
    }
    assert!(api.open_stream(&live).await.is_none());
    assert!(api.open_stream(&events).await.is_none());
    // Others have room, and so has this one when a stream has ended.
    let other = api.token(Role::Operator);
    let others = format!("GET /api/v1/events/live HTTP/1.1\r\nAuthorization: Bearer {other}");
    assert!(api.open_stream(&others).await.is_some());
    drop(open);
    while api.open_stream(&live).await.is_none() {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn a_stream_shows_that_it_lives_however_much_happens_to_others() {
    use tokio::io::AsyncReadExt as _;
    let api = Api::start().await;
    let token = api.token(Role::Tenant);
    let head = format!("GET /api/v1/events/live HTTP/1.1\r\nAuthorization: Bearer {token}");
    let mut stream = api.open_stream(&head).await.unwrap();
    let mut read = Vec::new();
    for _ in 0..200 {
        let event = NewEvent {
            at: Timestamp::EPOCH,
            name: "message".into(),
            tenant: Some("other.example".parse().unwrap()),
            account: None,
            marks: Vec::new(),
            body: "{}".into(),
        };
        let batch = Batch { events: vec![event], ..Batch::default() };
        api.gate.admin.archive.keep(Arc::new(batch)).await.unwrap();
        let some = tokio::time::timeout(Duration::from_millis(100), stream.read_buf(&mut read));
        if let Ok(count) = some.await {
            assert!(count.unwrap() > 0, "it was cut");
        }
        let text = String::from_utf8_lossy(&read);
        assert!(!text.contains("other.example"), "{text}");
        if text.contains("still here") {
            return;
        }
    }
    panic!("nothing came for 20 s: {}", String::from_utf8_lossy(&read));
}
