//! Golden decision scripts: "account, envelope, time → verdict", each with its expected output beside it.
//!
//! A file in `tests/decisions/` is a configuration, a line `---`, and a script. A script's line is one transaction:
//!
//! ```text
//! 09:00:00 from=<a@shop.example> to=50            one transaction with 50 recipients, settled as sent
//!   peer=192.0.2.1 login=a@shop.example client=198.51.100.7 auth=<x>   what else is known
//!   then=sent | refunded | unknown | open         how it ends
//! 09:10:00 suspend account a@shop.example | resume tenant shop.example | plan account a@shop.example small
//! 09:10:00 storage a@shop.example 900               so many octets are in a mailbox
//! 09:10:00 override account/recipients/1h=60 a@shop.example
//! ```
//!
//! Lines that begin with `>` are the expected output; `UPDATE=1` rewrites them. Everything runs on the real rules, the real
//! admission and the memory store, with a clock that is moved by hand.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on ends by panicking")]

use std::{
    collections::HashMap,
    fmt::Write as _,
    net::IpAddr,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};
use tollgate::{
    config::{self, Config},
    event::LimitHit,
    intake::admission::{self, Admission, Books, Question},
    rules::{
        identity::{self, Addresses, AtMail, Facts, Proxied, Shown},
        limits::LimitOverride,
        quota::Usage,
        verdict::Moment,
    },
    smtp::MailAuth,
    store::{
        behaviour::Minds,
        ledger::{Grant, Ledger, Request, Reservation, Settlement},
        mailboxes::{Figure, Mailboxes},
        memory::MemoryStore,
        records::{Change, Records, What},
    },
    types::{
        AccountId, Actor, Limit, ReversePath, Scope, SessionId, Span, SubjectId, Timestamp, Unit,
    },
};

#[test]
fn decisions_are_as_written() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/decisions");
    let mut files: Vec<PathBuf> =
        std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    assert!(!files.is_empty());
    for file in files {
        check(&file);
    }
}

/// Runs one file and compares it with itself.
fn check(file: &Path) {
    let text = std::fs::read_to_string(file).unwrap();
    let (settings, script) = text.split_once("\n---\n").expect("a line --- ends the configuration");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let mut stage = Stage::new(settings, file);
    let mut played = String::new();
    for line in script.lines().filter(|line| !line.starts_with('>')) {
        writeln!(played, "{line}").unwrap();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        for said in runtime.block_on(stage.play(line)) {
            writeln!(played, "> {said}").unwrap();
        }
    }
    if std::env::var_os("UPDATE").is_some() {
        std::fs::write(file, format!("{settings}\n---\n{played}")).unwrap();
    } else {
        assert_eq!(script, played, "{}", file.display());
    }
}

struct Stage {
    config: Config,
    store: MemoryStore,
    mailboxes: Mailboxes,
    open: Vec<Reservation>,
    session: SessionId,
}

impl Stage {
    fn new(settings: &str, file: &Path) -> Self {
        let config = config::parse(settings, file, &config::Moves::default())
            .unwrap_or_else(|error| panic!("{error}"));
        let store = MemoryStore::new(config.store.history, config.store.unknown_margin);
        let mailboxes = Mailboxes::default();
        Self { config, store, mailboxes, open: Vec::new(), session: "s".parse().unwrap() }
    }

    async fn play(&mut self, line: &str) -> Vec<String> {
        let (time, rest) = line.split_once(' ').expect("a time and something to do");
        let ledger: Timestamp = format!("2026-11-22T{time}Z").parse().expect("a time of day");
        let now = Moment { ledger, utc: ledger };
        let words: Vec<&str> = rest.split_whitespace().collect();
        match words[0] {
            "suspend" | "resume" | "override" | "plan" => vec![self.change(&words, now).await],
            "storage" => vec![self.fill(&words, now)],
            "settle" => self.settle_open(now).await,
            _ => self.mail(&words, now).await,
        }
    }

    /// `storage ann@shop.example 900`: so many octets are in a mailbox now.
    fn fill(&self, words: &[&str], now: Moment) -> String {
        let [_, account, bytes] = words else { panic!("too few words: {words:?}") };
        let account: AccountId = account.parse().unwrap();
        let tenant = identity::tenant_of(&account);
        let usage = Usage { bytes: bytes.parse().unwrap(), files: 1 };
        let figure = Figure { usage, measured: now.utc, source: "api" };
        self.mailboxes.note(&account, &tenant, Some(figure));
        self.mailboxes.add_up(&tenant, now.utc - Duration::from_secs(3_600));
        format!("{account} holds {bytes}")
    }

    async fn change(&self, words: &[&str], now: Moment) -> String {
        let [verb, what, name, rest @ ..] = words else { panic!("too few words: {words:?}") };
        let (kind, what) = match *verb {
            "plan" => (*what, What::Plan(Some(rest[0].parse().unwrap()))),
            "suspend" => (*what, What::suspend("TG-1".parse().unwrap())),
            "resume" => (*what, What::resume()),
            _ => {
                let over = parse_override(what, now.ledger);
                (
                    if over.scope == Scope::Tenant { "tenant" } else { "account" },
                    What::SetOverride(over),
                )
            }
        };
        let subject = match kind {
            "tenant" => SubjectId::Tenant(name.parse().unwrap()),
            _ => SubjectId::Account(name.parse().unwrap()),
        };
        let (reason, actor) = ("test".into(), Actor::automatic("test"));
        let change = Change { subject, what, reason, evidence: None, actor };
        match self.store.change(change, now.ledger).await {
            Ok(_) => "done".into(),
            Err(error) => error.to_string(),
        }
    }

    async fn settle_open(&mut self, now: Moment) -> Vec<String> {
        let mut said = Vec::new();
        for reservation in std::mem::take(&mut self.open) {
            said.push(format!("{} settled as sent", reservation.recipients()));
            said.extend(self.settle(reservation, Settlement::Sent, now).await);
        }
        said
    }

    async fn mail(&mut self, words: &[&str], now: Moment) -> Vec<String> {
        let given: HashMap<&str, &str> =
            words.iter().filter_map(|word| word.split_once('=')).collect();
        let admission = match self.admit(&given, now).await {
            Ok(admission) => admission,
            Err(said) => return vec![said],
        };
        let charged = &admission.charged;
        let mut said = vec![format!(
            "{} of {} by {}{}",
            charged.account,
            charged.tenant,
            charged.evidence,
            if admission.observed.is_empty() { "" } else { ", observed" }
        )];
        let recipients: u32 = given.get("to").map_or(1, |text| text.parse().unwrap());
        let mut reservation = Reservation::new(admission.demands.clone());
        let request = Request { recipients, grant: Grant::InOrder };
        let granted = self.store.reserve(&mut reservation, request, now.ledger).await.unwrap();
        said.push(format!("{} of {recipients} granted", granted.recipients));
        said.extend(granted.hit.map(|hit| self.refusal(hit, now)));
        said.extend(granted.observed.map(|observed| {
            let text = self.refusal(observed.hit, now);
            format!("observed for {}: {text}", observed.recipients)
        }));
        match given.get("then").copied().unwrap_or("sent") {
            "open" => self.open.push(reservation),
            "refunded" => said.extend(self.settle(reservation, Settlement::Refunded, now).await),
            "unknown" => said.extend(self.settle(reservation, Settlement::Unknown, now).await),
            _ => said.extend(self.settle(reservation, Settlement::Sent, now).await),
        }
        said
    }

    fn refusal(&self, hit: LimitHit, now: Moment) -> String {
        admission::limit_refusal(hit, None, now, &self.session).reply.to_string()
    }

    async fn settle(&self, reservation: Reservation, how: Settlement, now: Moment) -> Vec<String> {
        let reached = self.store.settle(reservation, how, now.ledger).await.unwrap();
        let say = |limit: tollgate::event::LimitReached| {
            format!(
                "{} at {} % ({} of {} in {})",
                limit.key, limit.percent, limit.used, limit.limit.max, limit.limit.window
            )
        };
        reached.into_iter().map(say).collect()
    }

    async fn admit(&self, given: &HashMap<&str, &str>, now: Moment) -> Result<Admission, String> {
        let policy = &self.config.policy;
        let address = |key: &str| given.get(key).map(|text| text.parse::<IpAddr>().unwrap());
        let tcp = address("peer").unwrap_or(IpAddr::from([127, 0, 0, 1]));
        let addresses =
            Addresses { tcp, proxy: Proxied::Absent, xclient: None, xforward: address("client") };
        let login: Option<AccountId> = given.get("login").map(|text| text.parse().unwrap());
        let mail_auth = given.get("auth").map(|text| MailAuth::Mailbox((*text).into()));
        let sender = given.get("from").map_or(ReversePath::Null, |text| {
            match text.trim_matches(['<', '>']) {
                "" => ReversePath::Null,
                address => ReversePath::Mailbox(address.parse().unwrap()),
            }
        });
        let tcp_row = policy.row_of_peer(tcp).map(|row| &**row);
        let client = identity::client_ip(tcp_row, &addresses);
        let facts = Facts {
            evidence: &self.config.listeners[0].evidence,
            row: identity::source_address(tcp_row, &addresses)
                .and_then(|source| {
                    policy.row_of(source, Shown { login: login.as_ref(), certificate: None })
                })
                .map(|row| &**row),
            login: login.as_ref(),
            xclient_login: None,
            mail_auth: mail_auth.as_ref(),
            sender: &sender,
            client: client.prefix(policy.ipv6_prefix_bits),
        };
        let identity = match identity::decide_at_mail(&facts) {
            AtMail::Named(identity) => identity,
            AtMail::WaitForHeader => return Err("waits for the header".into()),
            AtMail::NotRelaying => return Err("not relaying".into()),
        };
        let question = Question {
            policy,
            identity,
            client,
            sender: &sender,
            size: None,
            session: &self.session,
        };
        let behaviour = Minds::default();
        let books = Books {
            ledger: &self.store,
            records: &self.store,
            behaviour: &behaviour,
            mailboxes: &self.mailboxes,
            now,
        };
        let admission = admission::admit(books, question).await;
        let admission = admission.map_err(|denied| denied.refusal.reply.to_string())?;
        // What each recipient hears but the provider's own people.
        admission.shut.as_ref().map_or(Ok(()), |shut| Err(shut.reply.to_string()))?;
        Ok(admission)
    }
}

/// `account/recipients/1h=60`.
fn parse_override(text: &str, now: Timestamp) -> LimitOverride {
    let (place, max) = text.split_once('=').unwrap();
    let parts: Vec<&str> = place.split('/').collect();
    LimitOverride {
        scope: if parts[0] == "tenant" { Scope::Tenant } else { Scope::Account },
        unit: if parts[1] == "messages" { Unit::Messages } else { Unit::Recipients },
        window: parts[2].parse::<Span>().unwrap(),
        max: max.parse().ok(),
        until: Some(now + Duration::from_secs(3600)),
        reason: "test".into(),
        actor: "test".into(),
        since: now,
    }
}

/// What the scripts rely on: a limit that is not there is never in the way.
#[test]
fn an_admission_without_limits_is_unlimited() {
    let store = Arc::new(MemoryStore::new(Duration::from_secs(86_400), Duration::from_secs(600)));
    let limit = Limit { window: Span::from_secs(3600), max: 1 };
    let key = "account/r/a@b.example".parse().unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let usage = runtime.block_on(store.usage(&key, &[limit], Timestamp::from_millis(1))).unwrap();
    assert_eq!((usage[0].sent, usage[0].remaining), (0, 1));
}
