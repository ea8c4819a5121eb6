//! A gate without a network for the tests of `admin`, `http` and `cli`: the store in memory, one plan, recorded events.

use super::{
    Admin, BackupSettings, Bell, CheckedList, ConductSettings, Custody, Health, ListingsView,
    Lookout, NextHopHealth, Readiness, SinkTest, SourceSettings, StorageDesk, StorageSettings,
};
use crate::{
    clock::Clock,
    event::{Event, Events, Listener},
    mailbox::Source,
    rules::limits::{Mode, PhpMail, Plan, ScopedLimit},
    rules::policy::{
        Policy, ReceivedClient, SenderMismatch, Shut, StripIdentityHeaders, UnknownAccounts,
    },
    rules::{suspension, tally::calendar::Zone},
    standing::Passwords,
    store::{
        BoxFuture, archive,
        behaviour::Minds,
        ledger::{ChargePer, Demand, Grant, Request, Reservation, Settlement},
        mailboxes::Mailboxes,
        memory::MemoryStore,
    },
    types::{AccountId, Key, Limit, Scope, Span, SubjectId, Timestamp, Unit},
};
use arc_swap::ArcSwap;
use parking_lot::Mutex;
use std::{collections::HashMap, sync::Arc, time::Duration};

/// The gate and the events that it told.
pub(crate) struct Gate {
    pub(crate) admin: Admin,
    pub(crate) told: Arc<Mutex<Vec<String>>>,
    pub(crate) passwords: Arc<Marks>,
    _folder: tempfile::TempDir,
}

/// A gate with the plan `shared-hosting` (tenant and account 50/h and 600/day) as the default, and `big`.
pub(crate) fn gate() -> Gate {
    let store = Arc::new(MemoryStore::new(Duration::from_secs(86_400), Duration::from_secs(600)));
    let told = Arc::new(Mutex::default());
    let folder = tempfile::tempdir().unwrap();
    let settings = archive::Settings { path: folder.path().join("archive.db") };
    let archive = archive::open(&settings).unwrap();
    let clock = Clock::start(Timestamp::EPOCH);
    let passwords = Arc::new(Marks::default());
    let custody = Custody {
        vault: store.clone(),
        settings: BackupSettings {
            folder: folder.path().join("backups"),
            keep: Duration::from_secs(86_400),
            disguise: folder.path().join("login-disguise"),
            erasures: folder.path().join("erasures"),
        },
        conduct: ConductSettings {
            keep_offences: Duration::from_secs(365 * 86_400),
            repeated: 3,
            keep_closed: Duration::from_secs(30 * 86_400),
        },
        waiting: Box::new(|| 0),
        making: tokio::sync::Mutex::default(),
        refused_by: parking_lot::Mutex::default(),
        repeated: std::sync::atomic::AtomicI64::default(),
        parts_done: parking_lot::Mutex::default(),
        erased: parking_lot::Mutex::default(),
    };
    let admin = Admin {
        custody: Arc::new(custody),
        ledger: store.clone(),
        records: store,
        behaviour: Arc::new(Minds::default()),
        passwords: passwords.clone(),
        archive,
        policy: Arc::new(ArcSwap::from_pointee(policy())),
        sla: Arc::default(),
        clock,
        events: Events::new(vec![Box::new(Recorder(Arc::clone(&told)))]),
        zone: Zone::UTC,
        storage: Arc::new(desk()),
        health: Arc::new(Healthy),
        bell: Arc::new(Silent),
        lookout: Arc::new(Silent),
        steering: Arc::default(),
        choices: Arc::default(),
    };
    Gate { admin, told, passwords, _folder: folder }
}

/// Nobody looks at mailboxes: figures are told.
fn desk() -> StorageDesk {
    let settings = StorageSettings {
        source: SourceSettings::Told,
        every: Duration::from_secs(900),
        stale_after: Duration::from_secs(3_600),
        files_max: 250_000,
    };
    StorageDesk::new(Mailboxes::default(), Source::Told, settings)
}

impl Gate {
    /// Charges recipients of an account, and its tenant, as sent just now.
    pub(crate) async fn send(&self, account: &str, tenant: &str, recipients: u32) {
        let account = SubjectId::Account(account.parse().unwrap());
        let tenant = SubjectId::Tenant(tenant.parse().unwrap());
        let limits: Arc<[Limit]> = [limit(3_600, 50), limit(86_400, 600)].into();
        let demand = |subject| Demand {
            key: Key::of_subject(subject, Unit::Recipients),
            limits: Arc::clone(&limits),
            per: ChargePer::Recipient,
            mode: Mode::Enforce,
        };
        let mut reservation = Reservation::new(vec![demand(&account), demand(&tenant)]);
        let request = Request { recipients, grant: Grant::InOrder };
        let (ledger, now) = (&self.admin.ledger, self.admin.clock.now());
        let granted = ledger.reserve(&mut reservation, request, now).await.unwrap();
        assert_eq!(granted.recipients, recipients);
        ledger.settle(reservation, Settlement::Sent, now).await.unwrap();
    }
}

struct Recorder(Arc<Mutex<Vec<String>>>);

impl Listener for Recorder {
    fn notice(&self, _: Timestamp, event: &Event) {
        let text = match event {
            Event::SubjectChanged(changed) => format!("{}: {}", changed.subject, changed.change),
            other => other.name().to_owned(),
        };
        self.0.lock().push(text);
    }
}

/// What stands for passwords, as a test says.
#[derive(Default)]
pub(crate) struct Marks(pub(crate) Mutex<HashMap<AccountId, u64>>);

impl Passwords for Marks {
    fn mark(&self, account: &AccountId) -> Option<u64> {
        self.0.lock().get(account).copied()
    }
}

struct Healthy;

struct Silent;

impl Bell for Silent {
    fn test(&self) -> BoxFuture<'_, Vec<SinkTest>> {
        Box::pin(std::future::ready(Vec::new()))
    }
}

impl Lookout for Silent {
    fn status(&self) -> ListingsView {
        ListingsView::default()
    }

    fn check(
        &self,
        _: crate::rules::blocklist::Subject,
    ) -> BoxFuture<'_, Option<Vec<CheckedList>>> {
        Box::pin(std::future::ready(Some(Vec::new())))
    }
}

impl Health for Healthy {
    fn readiness(&self) -> BoxFuture<'_, Readiness> {
        let next_hop = NextHopHealth {
            next_hop: "mx.example:25".into(),
            usable: true,
            detail: None,
            egress: Vec::new(),
            avoided: None,
        };
        let readiness = Readiness {
            store_failure: None,
            listening_failure: None,
            logins_failure: None,
            events_failure: None,
            next_hops: vec![next_hop],
            draining: false,
        };
        Box::pin(std::future::ready(readiness))
    }
}

const fn limit(seconds: u64, max: u32) -> Limit {
    Limit { window: Span::from_secs(seconds), max }
}

fn plan(name: &str, per_hour: u32, per_day: u32) -> Arc<Plan> {
    let scoped = |scope, limit| ScopedLimit { scope, unit: Unit::Recipients, limit };
    let limits = [Scope::Account, Scope::Tenant, Scope::ClientIp].into_iter().flat_map(|scope| {
        [scoped(scope, limit(3_600, per_hour)), scoped(scope, limit(86_400, per_day))]
    });
    Arc::new(Plan {
        name: name.parse().unwrap(),
        limits: limits.collect(),
        mode: Mode::Enforce,
        php_mail: PhpMail::Allow,
        storage: Default::default(),
        message_bytes_max: 104_857_600,
    })
}

fn policy() -> Policy {
    let plans = [plan("shared-hosting", 50, 600), plan("big", 500, 6_000)];
    Policy {
        plans: plans.into_iter().map(|plan| (plan.name.clone(), plan)).collect(),
        default_plan: "shared-hosting".parse().unwrap(),
        unknown_accounts: UnknownAccounts::DefaultPlan,
        new_accounts_per_hour: 100,
        trust: Vec::new(),
        sender_login_mismatch: SenderMismatch::Refuse,
        ipv6_prefix_bits: 64,
        strip_identity_headers: StripIdentityHeaders::default(),
        received_client: ReceivedClient::Full,
        hops_max: 50,
        contact: "abuse@provider.example".into(),
        suspension: suspension::Settings::default(),
        shut: Shut::default(),
        hostname: "gate.example".parse().unwrap(),
        park_after: Duration::from_secs(10),
    }
}
