//! Composition root: build, start, reload, drain, stop.
//!
//! The only module that knows everything and the only one that spawns tasks that live on. A panic in a connection ends that
//! connection; a panic in a task of the system ends the process, because half a gate is worse than none.

use crate::{
    admin::{
        self, Admin, Bell, Custody, EgressChoices, Files, Health, NextHopHealth, Readiness,
        SourceSettings, StorageDesk, clear_leftovers,
    },
    auth::{self, AuthError, Authenticator, Scheme, dovecot},
    cli::output,
    clock::Clock,
    config::{self, Budget, Config, JudgeTables, Moves},
    deliver::{self, Deliverer, HopState, Steering},
    event::{BackendState, Event, Events, Trouble},
    http::{self, ApiListener, ApiState, ControlSocket, PublicState},
    intake::{
        Court, Door, Gate, Judge, ListenerKind, ListenerSettings, Phase, connection,
        ids::Ids,
        places::{House, PlaceCounts, Places},
    },
    mailbox::{self, Doveadm, Maildirs},
    message::SubjectKey,
    net::{
        Beat, Listener, Pulse, TlsServer,
        connect::{Network, Verification, client_config},
        descriptors,
    },
    resolve::Lookups,
    rules::{
        availability::Sla,
        blocklist::Listings,
        tally::{Book, RecipientKey},
    },
    scan::Scanners,
    smtp::server::Mechanism,
    spool::Spool,
    standing::Standings,
    store::{
        BoxFuture, StoreError,
        archive::{self, Archive, NewEntry, audit::audited},
        behaviour::{Behaviour, Minds, Wanted},
        ledger::Ledger,
        mailboxes::Mailboxes,
        records::Records,
        redis::{RedisLedger, RedisRecords, RedisStream, SharingLedger, StreamSettings},
        sqlite::{self, SqliteStore},
        vault::Vault,
    },
    telemetry::{self, Telemetry},
    types::{Actor, Secret, Via},
    watch::{
        self as watchers, Auditor, Availability, Backlog, BlocklistDesk, BlocklistSetup,
        BlocklistView, Blocklists, Collector, Courier, CourierGround, Departures, Egress,
        MailboxRounds, Outfit, Post, Publisher, Reaction, Reports, Retention, Scribe, Siren,
        StreamProgress, StreamReader, Suspensions, Vitals,
    },
};
use arc_swap::ArcSwap;
use std::{
    future::Future,
    io::Write as _,
    num::NonZeroUsize,
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicI64, Ordering::Relaxed},
    },
    time::Duration,
};
use tokio::{
    net::TcpListener,
    signal::unix::{Signal, SignalKind, signal},
    sync::{oneshot, watch},
    task::JoinSet,
};

/// Why the program could not start or had to end.
#[derive(Debug, thiserror::Error)]
pub enum AppError {
    /// The configuration is wrong.
    #[error(transparent)]
    Config(#[from] config::ConfigError),
    /// Something that the configuration names cannot be opened, read or bound.
    #[error("{what}: {detail}")]
    Start {
        /// What.
        what: String,
        /// Why not.
        detail: String,
    },
    /// A task that must live on has ended.
    #[error("the {0} task ended, and so does the process")]
    TaskEnded(&'static str),
}

fn start_error(what: impl Into<String>) -> impl FnOnce(&dyn std::fmt::Display) -> AppError {
    let what = what.into();
    move |detail| AppError::Start { what, detail: detail.to_string() }
}

/// Turns any error into one that names what was being started.
trait Named<T> {
    fn named(self, what: &str) -> Result<T, AppError>;
}

impl<T, E: std::fmt::Display> Named<T> for Result<T, E> {
    fn named(self, what: &str) -> Result<T, AppError> {
        self.map_err(|error| start_error(what)(&error))
    }
}

/// Serves until a signal ends it.
///
/// # Errors
/// [`AppError`] if it could not start, or a task that must live on has ended.
pub fn serve(path: &Path, moves: &Moves) -> Result<(), AppError> {
    let config = config::load(path, moves)?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(threads(&config))
        .enable_all()
        .build()
        .named("the runtime")?;
    let result = runtime.block_on(async {
        let source = Source { path: path.to_owned(), moves: moves.clone() };
        App::build(source, config).await?.run().await
    });
    runtime.shutdown_timeout(RUNTIME_STOP_TIME_MAX);
    result
}

fn threads(config: &Config) -> usize {
    let processors = || std::thread::available_parallelism().map_or(1, NonZeroUsize::get);
    config.threads.map_or_else(processors, NonZeroUsize::get)
}

/// Where the configuration comes from.
struct Source {
    path: PathBuf,
    moves: Moves,
}

/// The running program.
struct App {
    source: Source,
    config: Config,
    telemetry: Telemetry,
    store: Arc<SqliteStore>,
    fleet: Option<Fleet>,
    archive: Archive,
    minds: Arc<Minds>,
    keep: Arc<ArcSwap<archive::Keep>>,
    collecting: Collecting,
    siren: Option<Siren>,
    outfit: Arc<ArcSwap<Outfit>>,
    gate: Arc<Gate>,
    storage: Arc<StorageDesk>,
    tls: Option<Arc<TlsServer>>,
    doors: Vec<OpenDoor>,
    pulse: Arc<Pulse>,
    /// One for each socket of a door.
    beats: Vec<Beat>,
    backlog: Backlog,
    sla: Arc<ArcSwap<Sla>>,
    blocklist: Arc<ArcSwap<BlocklistSetup>>,
    blocklist_desk: Option<BlocklistDesk>,
    blocklist_view: BlocklistView,
    reaction: Arc<ArcSwap<Reaction>>,
    choices: EgressChoices,
    /// What of ours is on blocklists now.
    listings: Arc<ArcSwap<Listings>>,
    phase: watch::Sender<Phase>,
    /// Counts the deliverers; the task that looks after one ends when it is replaced.
    deliverers: watch::Sender<u64>,
    test_login: Option<String>,
    /// The password file was wrong when it was read last.
    users_rejected: Arc<AtomicBool>,
}

/// A door with the sockets that lead to it. The door is replaced at a reload, the sockets stay.
struct OpenDoor {
    door: Arc<ArcSwap<Door>>,
    sockets: Vec<Listener>,
}

impl App {
    async fn build(source: Source, config: Config) -> Result<Self, AppError> {
        let telemetry = telemetry::start(&config.log).named("the log")?;
        let (phase, _) = watch::channel(Phase::Serving);
        make_folder(&config.state_dir)?;
        let store_name = format!("the store {}", config.store.path.display());
        let opened =
            sqlite::open(&config.store).map_err(|error| advised(&error)).named(&store_name)?;
        let clock = Clock::resume(opened.anchor(), opened.high_water());
        warn_of_the_past(&clock);
        clear_leftovers(&Files {
            store: config.store.clone(),
            archive: config.archive.clone(),
            backups: config.backups.clone(),
        });
        let archive_name = format!("the archive {}", config.archive.path.display());
        let archive = archive::open(&config.archive)
            .map_err(|error| advised_of_archive(&error))
            .named(&archive_name)?;
        let lines = config.log.lines_per_client_minute;
        let key = archive.recipient_key().await.named(&archive_name)?;
        let book = Book::new(key.clone(), config.reports.zone.clone());
        let minds = Minds::load(archive.clone()).await.named(&archive_name)?;
        let minds = Arc::new(minds);
        let (ear, mut collector) = watchers::collector(archive.clone(), clock.clone(), lines, book);
        let backlog = ear.backlog();
        let node = config.redis.as_ref().map(|redis| redis.stream.node.clone());
        match &config.redis {
            Some(redis) => {
                let octets_max = redis.stream.journal_octets_max;
                archive.share(redis.stream.node.clone(), octets_max).await.named(&archive_name)?;
            }
            None => archive.unshare().await.named(&archive_name)?,
        }
        let (siren_ear, siren) = watchers::siren(node);
        let mut listeners = telemetry.listeners(&clock, archive.subject_key());
        listeners.push(siren_ear);
        listeners.push(Box::new(ear));
        let events = Events::new(listeners);
        let store = opened
            .start(&clock, events.clone())
            .map_err(|error| advised(&error))
            .named(&store_name)?;
        let tls = config.tls.clone().map(TlsServer::new).transpose().named("tls")?.map(Arc::new);
        let test_login = make_test_user(&config)?;
        let outfit = build_outfit(&config)?;
        let desk = build_storage(&config, &archive, &clock).await?;
        let mailboxes = desk.mailboxes.clone();
        let fleet = Fleet::build(&config, (&clock, &events), &store)?;
        let key = match &fleet {
            Some(fleet) => fleet.share_key(&archive, key).await.named(&archive_name)?,
            None => key,
        };
        if let Some(fleet) = &fleet {
            collector.share(fleet.settings.node.clone(), key.clone(), fleet.progress.clone());
        }
        let (ledger, records): (Arc<dyn Ledger>, Arc<dyn Records>) = match &fleet {
            Some(fleet) => (fleet.ledger(), fleet.records.clone()),
            None => (store.clone(), store.clone()),
        };
        let (network, subjects) = (Network::System, SubjectKey::new(archive.subject_key()));
        let behaviour = minds.clone();
        let ground = Ground {
            ledger,
            records,
            behaviour,
            mailboxes,
            network,
            clock,
            subjects,
            recipients: key,
            events,
        };
        let gate = Arc::new(build_gate(&config, ground)?);
        let doors = open_doors(&config, &gate, tls.as_ref())?;
        let (pulse, beats) = Pulse::of(doors.iter().map(|open| open.sockets.len()).sum());
        let (deliverers, _) = watch::channel(0);
        let blocklist = build_blocklist(&config, &gate.clock)?;
        gate.lookups.store(blocklist.lookups());
        let (blocklist_view, blocklist_desk) = watchers::blocklist_desk();
        Ok(Self {
            blocklist: Arc::new(ArcSwap::from_pointee(blocklist)),
            blocklist_desk: Some(blocklist_desk),
            blocklist_view,
            reaction: Arc::new(ArcSwap::from_pointee(config.reaction.clone())),
            choices: EgressChoices::default(),
            listings: Arc::default(),
            sla: Arc::new(ArcSwap::from_pointee(config.sla.clone())),
            source,
            keep: Arc::new(ArcSwap::from_pointee(config.keep)),
            config,
            telemetry,
            store,
            fleet,
            archive,
            minds,
            collecting: Collecting::of(collector),
            siren: Some(siren),
            outfit: Arc::new(ArcSwap::from_pointee(outfit)),
            gate,
            storage: Arc::new(desk),
            tls,
            doors,
            pulse: Arc::new(pulse),
            beats,
            backlog,
            phase,
            deliverers,
            test_login,
            users_rejected: Arc::default(),
        })
    }

    async fn run(mut self) -> Result<(), AppError> {
        let mut signals = Signals::new().named("signals")?;
        let mut vital = JoinSet::new();
        let mut connections = JoinSet::new();
        self.collecting.start(&mut vital, &self.gate);
        self.audit_mismatch().await.named("the archive")?;
        self.start_tasks(&mut vital).await?;
        let mut beats = std::mem::take(&mut self.beats).into_iter();
        for open in std::mem::take(&mut self.doors) {
            let swap = open.door.clone();
            for (socket, beat) in open.sockets.into_iter().zip(beats.by_ref()) {
                connections.spawn(accept_loop(
                    self.gate.clone(),
                    swap.clone(),
                    (socket, beat),
                    self.phase.subscribe(),
                ));
            }
            self.doors.push(OpenDoor { door: open.door, sockets: Vec::new() });
        }
        tell_of_breaker(&self.gate).await;
        warn_of_scram(&self.config, &self.gate.authenticator);
        for warning in config::warnings(&self.config) {
            tracing::warn!("{warning}");
        }
        tracing::info!(version = env!("CARGO_PKG_VERSION"), "tollgate serves");
        self.announce();
        let _no_systemd = sd_notify::notify(&[sd_notify::NotifyState::Ready]);
        let outcome = self.live(&mut signals, &mut vital, &mut connections).await;
        self.stop(&mut signals, connections).await;
        outcome
    }

    /// An audit that does not end as was noted is told of, and says so itself from here on: the note follows it.
    async fn audit_mismatch(&self) -> Result<(), StoreError> {
        let Some(mismatch) = self.archive.take_mismatch() else { return Ok(()) };
        let (noted, head) = (mismatch.noted.text(), mismatch.head.to_string());
        tracing::error!(
            noted,
            found = head,
            "the audit does not end as was noted: its end was cut off or added to"
        );
        let actor = Actor::automatic("the start");
        let mut entry = NewEntry::new(self.gate.clock.utc(), &actor, "audit-mismatch");
        (entry.before, entry.after) = (Some(noted), Some(head));
        let head = self.archive.append_audit(entry).await?;
        if let Some(head) = head {
            self.gate.tell(&audited("audit-mismatch", head));
        }
        Ok(())
    }

    /// Waits for signals until one of them, or the end of a vital task, ends the program.
    async fn live(
        &mut self,
        signals: &mut Signals,
        vital: &mut JoinSet<&'static str>,
        listening: &mut JoinSet<()>,
    ) -> Result<(), AppError> {
        loop {
            tokio::select! {
                _ = signals.hangup.recv() => self.reload().await,
                _ = signals.terminate.recv() => return Ok(()),
                _ = signals.interrupt.recv() => return Ok(()),
                Some(_) = listening.join_next() => return Err(AppError::TaskEnded("listener")),
                Some(ended) = vital.join_next() => {
                    let name = ended.unwrap_or("panicked");
                    return Err(AppError::TaskEnded(name));
                }
            }
        }
    }

    /// Lets what runs come to its end within `server.drain_time_max`, then closes the store.
    async fn stop(&mut self, signals: &mut Signals, mut connections: JoinSet<()>) {
        let _no_systemd = sd_notify::notify(&[sd_notify::NotifyState::Stopping]);
        tracing::info!("tollgate drains");
        let _nobody_listens = self.phase.send(Phase::Draining);
        let all_ended = async { while connections.join_next().await.is_some() {} };
        tokio::select! {
            () = all_ended => {}
            () = tokio::time::sleep(self.config.drain_time_max) => {
                tracing::warn!("connections were cut at the end of the drain time");
            }
            () = signals.stop() => tracing::warn!("a second signal cut the drain short"),
        }
        let _nobody_listens = self.phase.send(Phase::Cut);
        while connections.join_next().await.is_some() {}
        self.collecting.finish().await;
        if let Err(error) = self.minds.write(self.gate.clock.now(), Wanted::All).await {
            tracing::error!(%error, "what was learnt of senders in the last seconds is lost");
        }
        self.archive.close().await;
        if let Some(fleet) = &self.fleet {
            fleet.records.close().await;
            if let Some(sharing) = &fleet.sharing {
                sharing.close().await;
            }
            fleet.ledger.close().await;
        }
        if let Err(error) = self.store.close().await {
            tracing::error!(%error, "the store could not be closed in order; what was durable stays so");
        }
        tracing::info!("tollgate ends");
        self.telemetry.flush();
    }

    async fn start_tasks(&mut self, vital: &mut JoinSet<&'static str>) -> Result<(), AppError> {
        let gate = &self.gate;
        let (prober, replaced) = (gate.clone(), self.deliverers.subscribe());
        spawn(vital, "next-hop", async move { run_probes(&prober, replaced).await });
        let (watcher, rejected) = (gate.clone(), self.users_rejected.clone());
        spawn(vital, "password-file", async move {
            let notice = |result| notice_users(&watcher, &rejected, result);
            watcher.authenticator.run_watch(PASSWD_WATCH_EVERY, notice).await;
        });
        let watcher = gate.clone();
        spawn(vital, "places", async move { run_scarcity(&watcher).await });
        let asker = gate.clone();
        spawn(vital, "logins", async move {
            let notice = |change| notice_dovecot(&asker, change);
            asker.authenticator.run_dovecot(notice).await;
        });
        let auditor = Auditor {
            records: gate.records.clone(),
            archive: self.archive.clone(),
            clock: gate.clock.clone(),
            events: gate.events.clone(),
            posted: AtomicI64::new(0),
        };
        spawn(vital, "audit", auditor.run());
        if let Some(fleet) = &self.fleet {
            fleet.start_stream(vital, &self.archive, gate);
        }
        let retention = Retention {
            vault: self.vault(),
            archive: self.archive.clone(),
            keep: self.keep.clone(),
            clock: gate.clock.clone(),
            events: gate.events.clone(),
        };
        spawn(vital, "retention", retention.run());
        let judged = gate.clone();
        let suspensions = Suspensions {
            standings: gate.court.standings.clone(),
            settings: move || judged.judge.load().settings.clone(),
        };
        spawn(vital, "suspensions", suspensions.run());
        let scribe = Scribe { minds: self.minds.clone(), clock: gate.clock.clone() };
        spawn(vital, "behaviour", scribe.run());
        let store = self.store.clone();
        spawn(vital, "store", async move { store.panicked().await });
        let metrics = self.telemetry.metrics();
        spawn(vital, "metrics", async move {
            loop {
                tokio::time::sleep(METRICS_UPKEEP_EVERY).await;
                metrics.upkeep();
            }
        });
        let health = self.health();
        self.start_blocklists(vital).await.named("the archive")?;
        self.start_watchers(vital, &health);
        let bell = Arc::new(self.start_courier(vital));
        self.start_http(vital, health, bell).await
    }

    fn start_courier(&mut self, vital: &mut JoinSet<&'static str>) -> Courier {
        let gate = self.gate.clone();
        let courier = Courier::new(CourierGround {
            archive: self.archive.clone(),
            records: gate.records.clone(),
            clock: gate.clock.clone(),
            events: gate.events.clone(),
            outfit: self.outfit.clone(),
            post: Post::new(move || Deliverer::clone(&gate.deliverer.load())),
        });
        if let Some(siren) = self.siren.take() {
            spawn(vital, "alerts", courier.clone().run(siren));
        }
        courier
    }

    async fn start_blocklists(
        &mut self,
        vital: &mut JoinSet<&'static str>,
    ) -> Result<(), StoreError> {
        let Some(desk) = self.blocklist_desk.take() else { return Ok(()) };
        let blocklists = Blocklists {
            setup: self.blocklist.clone(),
            archive: self.archive.clone(),
            records: self.gate.records.clone(),
            clock: self.gate.clock.clone(),
            metrics: self.telemetry.metrics(),
            events: self.gate.events.clone(),
            listings: self.listings.clone(),
            desk,
        };
        blocklists.resume().await?;
        spawn(vital, "blocklists", blocklists.run());
        let judged = self.gate.clone();
        let egress = Egress {
            listings: self.listings.clone(),
            reaction: self.reaction.clone(),
            choices: self.choices.clone(),
            steering: self.gate.steering.clone(),
            archive: self.archive.clone(),
            standings: self.gate.court.standings.clone(),
            settings: move || judged.judge.load().settings.clone(),
            policy: self.gate.policy.clone(),
            clock: self.gate.clock.clone(),
            events: self.gate.events.clone(),
        };
        let known = egress.resume().await?;
        spawn(vital, "egress", egress.run(known));
        Ok(())
    }

    /// Whoever holds the limits and records.
    fn vault(&self) -> Arc<dyn Vault> {
        match &self.fleet {
            Some(fleet) => fleet.records.clone(),
            None => self.store.clone(),
        }
    }

    fn health(&self) -> Arc<dyn Health> {
        Arc::new(Condition {
            gate: self.gate.clone(),
            store: self.store.clone(),
            fleet: self.fleet.clone(),
            pulse: self.pulse.clone(),
            phase: self.phase.subscribe(),
        })
    }

    /// Starts those who look after the program itself.
    fn start_watchers(&self, vital: &mut JoinSet<&'static str>, health: &Arc<dyn Health>) {
        let metrics = self.telemetry.metrics();
        metrics.note_start(self.gate.clock.utc());
        let vitals = Vitals {
            health: health.clone(),
            folder: self.config.state_dir.clone(),
            spool: self.gate.spool.clone(),
            tls: self.tls.clone(),
            backlog: self.backlog.clone(),
            stream: self.fleet.as_ref().map(|fleet| fleet.progress.clone()),
            clock: self.gate.clock.clone(),
            metrics: metrics.clone(),
            events: self.gate.events.clone(),
        };
        spawn(vital, "vitals", vitals.run());
        let availability = Availability {
            health: health.clone(),
            pulse: self.pulse.clone(),
            archive: self.archive.clone(),
            records: self.gate.records.clone(),
            sla: self.sla.clone(),
            clock: self.gate.clock.clone(),
            metrics,
            events: self.gate.events.clone(),
        };
        spawn(vital, "availability", availability.run());
    }

    async fn start_http(
        &self,
        vital: &mut JoinSet<&'static str>,
        health: Arc<dyn Health>,
        bell: Arc<dyn Bell>,
    ) -> Result<(), AppError> {
        let custody = Custody {
            vault: self.vault(),
            settings: self.config.backups.clone(),
            conduct: self.config.conduct,
            waiting: {
                let backlog = self.backlog.clone();
                Box::new(move || backlog.waiting().0)
            },
            making: tokio::sync::Mutex::default(),
            refused_by: parking_lot::Mutex::default(),
            repeated: std::sync::atomic::AtomicI64::default(),
            parts_done: parking_lot::Mutex::default(),
            erased: parking_lot::Mutex::default(),
        };
        let admin = Admin {
            custody: Arc::new(custody),
            ledger: self.gate.ledger.clone(),
            records: self.gate.records.clone(),
            behaviour: self.gate.court.standings.behaviour.clone(),
            passwords: self.gate.authenticator.clone(),
            archive: self.archive.clone(),
            policy: self.gate.policy.clone(),
            sla: self.sla.clone(),
            clock: self.gate.clock.clone(),
            events: self.gate.events.clone(),
            zone: self.config.reports.zone.clone(),
            storage: self.storage.clone(),
            health: health.clone(),
            bell,
            lookout: Arc::new(self.blocklist_view.clone()),
            steering: self.gate.steering.clone(),
            choices: self.choices.clone(),
        };
        self.start_reports(vital, &admin);
        let rounds = MailboxRounds { admin: admin.clone(), metrics: self.telemetry.metrics() };
        spawn(vital, "storage", rounds.run());
        let departures = Departures { admin: admin.clone() };
        spawn(vital, "departures", departures.run());
        self.start_api(vital, &admin)?;
        let path = &self.config.http.control;
        let socket =
            ControlSocket::bind(path).named(&format!("control.socket {}", path.display()))?;
        spawn(vital, "control", async move {
            let _ended = http::serve_control(socket, admin, std::future::pending()).await;
        });
        // Whoever hears from here that the program is ready finds all the rest there.
        if let Some(address) = self.config.http.listen {
            let socket =
                TcpListener::bind(address).await.named(&format!("http.listen {address}"))?;
            let state = PublicState { metrics: self.telemetry.metrics(), health };
            spawn(vital, "http", async move {
                let _ended = http::serve_public(socket, state, std::future::pending()).await;
            });
        }
        Ok(())
    }

    /// Starts what writes to tenants about what they used.
    fn start_reports(&self, vital: &mut JoinSet<&'static str>, admin: &Admin) {
        let gate = self.gate.clone();
        let reports = Reports {
            admin: admin.clone(),
            post: Post::new(move || Deliverer::clone(&gate.deliverer.load())),
            letters: self.config.reports.letters.clone(),
        };
        spawn(vital, "reports", reports.run());
    }

    fn start_api(&self, vital: &mut JoinSet<&'static str>, admin: &Admin) -> Result<(), AppError> {
        let settings = self.config.api;
        let Some(address) = settings.listen else { return Ok(()) };
        let socket = Listener::bind(address).map_err(|error| error.source);
        let socket = socket.named(&format!("api.listen {address}"))?;
        let tls = self.tls.clone().filter(|_| settings.tls);
        let (listener, state) =
            (ApiListener::new(socket, tls), ApiState::new(admin.clone(), settings.pace));
        spawn(vital, "api", async move {
            let _ended = http::serve_api(listener, state, std::future::pending()).await;
        });
        Ok(())
    }

    /// Reads everything again; what is wrong leaves the old in force and says why.
    async fn reload(&mut self) {
        let _no_systemd = sd_notify::notify(&[sd_notify::NotifyState::Reloading]);
        if let Err(error) = self.telemetry.reopen() {
            tracing::error!(%error, "the log stays in the old file");
        }
        match self.try_reload().await {
            Ok(keys) => {
                self.gate.tell(&Event::ConfigReloaded);
                self.audit_reload(&keys);
            }
            Err(error) => {
                self.gate.tell(&Event::ConfigRejected(Trouble { detail: error.to_string() }));
            }
        }
        let _no_systemd = sd_notify::notify(&[sd_notify::NotifyState::Ready]);
    }

    /// Notes in the audit which keys were changed. It is not waited for: the new configuration is in force already. While the
    /// archive cannot be written it is tried again.
    fn audit_reload(&self, keys: &[String]) {
        let gate = self.gate.clone();
        let actor = Actor::new(Via::Config, "SIGHUP");
        let mut entry = NewEntry::new(gate.clock.utc(), &actor, "config-reloaded");
        entry.after = Some(keys.join(" ")).filter(|keys| !keys.is_empty());
        let archive = self.archive.clone();
        tokio::spawn(async move {
            for _ in 0..AUDIT_ATTEMPTS_MAX {
                match archive.append_audit(entry.clone()).await {
                    Ok(head) => {
                        let told = head.map(|head| audited("config-reloaded", head));
                        return told.iter().for_each(|event| gate.tell(event));
                    }
                    Err(error) => {
                        tracing::warn!(%error, "a reload of the configuration waits for the audit");
                    }
                }
                tokio::time::sleep(AUDIT_RETRY_EVERY).await;
            }
            tracing::error!("the audit lacks a reload of the configuration");
        });
    }

    /// Returns the keys that the file sets otherwise than before.
    async fn try_reload(&mut self) -> Result<Vec<String>, AppError> {
        let mut config = config::load(&self.source.path, &self.source.moves)?;
        for key in config.keep_fixed(&self.config) {
            tracing::warn!(key, "this changes only with a restart");
        }
        // Everything that can fail comes before anything that changes.
        let deliverer = self.new_deliverer(&config)?;
        let scanners = self.new_scanners(&config)?;
        let mailboxes = self.new_source(&config)?;
        let outfit = build_outfit(&config)?;
        let blocklist = self.new_blocklist(&config)?;
        let house = share_descriptors(&config)?.house;
        let users = self.gate.authenticator.reload().await;
        self.users_rejected.store(users.is_err(), Relaxed);
        users.named("auth.passwd_file")?;
        if let (Some(tls), Some(settings)) = (&self.tls, config.tls.clone()) {
            tls.reload_with(settings).named("tls")?;
            self.gate.tell(&Event::CertificatesReloaded);
        }
        if let Some(deliverer) = deliverer {
            self.gate.deliverer.swap(Arc::new(deliverer)).retire();
            self.deliverers.send_modify(|count| *count += 1);
        }
        if let Some(scanners) = scanners {
            self.gate.scanners.swap(Arc::new(scanners)).retire();
        }
        if let Some(source) = mailboxes {
            self.storage.source.store(Arc::new(source));
        }
        self.storage.settings.store(Arc::new(config.storage.clone()));
        self.gate.judge.store(Arc::new(build_judge(&config)));
        self.outfit.store(Arc::new(outfit));
        self.reaction.store(Arc::new(config.reaction.clone()));
        if let Some(blocklist) = blocklist {
            self.gate.lookups.store(blocklist.lookups());
            self.blocklist.store(Arc::new(blocklist));
        }
        self.store.set_history(config.store.history);
        if let Some(fleet) = &self.fleet {
            fleet.ledger.set_history(config.store.history);
        }
        self.gate.policy.store(Arc::new(config.policy.clone()));
        self.sla.store(Arc::new(config.sla.clone()));
        self.gate.house.resize(house);
        self.replace_doors(&config);
        self.keep.store(Arc::new(config.keep));
        let keys = config.keys_changed_since(&self.config);
        self.config = config;
        Ok(keys)
    }

    /// Another place to look at mailboxes; none if it is the same, so that what was seen there is remembered.
    fn new_source(&self, config: &Config) -> Result<Option<mailbox::Source>, AppError> {
        let differs = config.storage.source != self.config.storage.source;
        differs.then(|| build_source(config)).transpose()
    }

    /// Other scanners; none if they are the same, so that what is known of their health stays.
    fn new_scanners(&self, config: &Config) -> Result<Option<Scanners>, AppError> {
        let differs = config.scan != self.config.scan;
        differs.then(|| build_scanners(config, &self.gate.clock, &self.gate.events)).transpose()
    }

    /// Another setup for blocklists; none if it is the same, so that what they were asked and answered goes on.
    fn new_blocklist(&self, config: &Config) -> Result<Option<BlocklistSetup>, AppError> {
        let differs = config.blocklist != self.config.blocklist;
        differs.then(|| build_blocklist(config, &self.gate.clock)).transpose()
    }

    /// A deliverer for other next hops; none if they are the same, so that connections, health and what is known of their
    /// extensions stay.
    fn new_deliverer(&self, config: &Config) -> Result<Option<Deliverer>, AppError> {
        let differs = config.next_hop != self.config.next_hop;
        let build = || build_deliverer(config, &self.gate);
        differs.then(build).transpose()
    }

    /// New connections get the listeners' new settings; addresses stay until a restart.
    fn replace_doors(&self, config: &Config) {
        for open in &self.doors {
            let name = open.door.load().settings.name.clone();
            if let Some(settings) = config.listeners.iter().find(|listener| listener.name == name) {
                let old = open.door.load();
                let mut door = build_door(config, settings, &self.gate, self.tls.as_ref());
                if places_of(&old.settings) == places_of(settings) {
                    door.places = old.places.clone();
                }
                open.door.store(Arc::new(door));
            }
        }
    }

    /// Says where to send, on standard output: for whoever started the program by hand.
    fn announce(&self) {
        if let Some(login) = &self.test_login {
            output::print(&quickstart_text(&self.config, login));
        }
    }
}

impl Gate {
    fn tell(&self, event: &Event) {
        self.events.tell(self.clock.now(), event);
    }
}

/// What a gate stands on: the program's own store, network and clock, or those of a simulation.
pub struct Ground {
    /// Charges.
    pub ledger: Arc<dyn Ledger>,
    /// States, overrides, assignments.
    pub records: Arc<dyn Records>,
    /// What is remembered of senders.
    pub behaviour: Arc<dyn Behaviour>,
    /// How full mailboxes are.
    pub mailboxes: Mailboxes,
    /// Where connections to next hops lead.
    pub network: Network,
    /// The time.
    pub clock: Clock,
    /// What subjects are hashed under.
    pub subjects: SubjectKey,
    /// What recipients are hashed under.
    pub recipients: RecipientKey,
    /// Who wants to know.
    pub events: Events,
}

/// Builds what connections share, as it is configured.
///
/// # Errors
/// [`AppError::Start`] if something that the configuration names cannot be used.
pub fn build_gate(config: &Config, ground: Ground) -> Result<Gate, AppError> {
    let Ground {
        ledger,
        records,
        behaviour,
        mailboxes,
        network,
        clock,
        subjects,
        recipients,
        events,
    } = ground;
    let authenticator = Arc::new(Authenticator::new(config.auth.clone()).named("auth")?);
    let standings = Standings {
        records: records.clone(),
        behaviour,
        passwords: authenticator.clone(),
        clock: clock.clone(),
        events: events.clone(),
    };
    let steering = Steering::default();
    let way = config.next_hop.clone();
    let deliverer = Deliverer::over(&network, way, clock.clone(), events.clone(), steering.clone());
    let deliverer = deliverer.named("next_hop")?;
    Ok(Gate {
        ledger,
        records,
        deliverer: ArcSwap::from_pointee(deliverer),
        steering,
        scanners: ArcSwap::from_pointee(build_scanners(config, &clock, &events)?),
        judge: ArcSwap::from_pointee(build_judge(config)),
        lookups: ArcSwap::from_pointee(Lookups::none()),
        court: Court::new(standings, recipients),
        mailboxes,
        spool: open_spool(config, &clock, &events)?,
        house: House::new(share_descriptors(config)?.house),
        authenticator,
        policy: Arc::new(ArcSwap::from_pointee(config.policy.clone())),
        ids: Ids::new(clock.now()),
        clock,
        subjects,
        events,
    })
}

fn open_spool(config: &Config, clock: &Clock, events: &Events) -> Result<Spool, AppError> {
    let name = format!("spool.folder {}", config.spool.folder.display());
    let spool = Spool::new(config.spool.clone()).named(&name)?;
    Ok(spool.reporting_to(clock.clone(), events.clone()))
}

/// What is wrong with the store and, where it does not pass by itself, what can be done.
fn advised(error: &StoreError) -> String {
    let advice = match error {
        StoreError::Damaged(_) => {
            "; restore a backup, or move the file away with its -wal and start without a history \
             (docs/operations.md)"
        }
        _ => "",
    };
    format!("{error}{advice}")
}

/// The same of the archive.
fn advised_of_archive(error: &StoreError) -> String {
    let advice = match error {
        StoreError::Damaged(_) => {
            "; restore a copy, or move the file away with its -wal: limits are not concerned, history and tokens are gone \
             (docs/operations.md)"
        }
        _ => "",
    };
    format!("{error}{advice}")
}

/// Says that the store has seen a later time than the wall clock shows: one of the two was or is wrong.
fn warn_of_the_past(clock: &Clock) {
    let ahead = clock.now().since(clock.utc());
    if ahead > CLOCK_AHEAD_TOLD {
        tracing::warn!(
            seconds = ahead.as_secs(),
            "the store has seen a later time than the wall clock shows; windows go on from there"
        );
    }
}

fn make_folder(path: &Path) -> Result<(), AppError> {
    std::fs::create_dir_all(path).named(&format!("server.state_dir {}", path.display()))
}

/// Makes the configured test user with a fresh password if there is no password file; says `login:password`.
fn make_test_user(config: &Config) -> Result<Option<String>, AppError> {
    let (Some(user), Some(file)) = (&config.test_user, &config.auth.passwd_file) else {
        return Ok(None);
    };
    let note = config.state_dir.join(TEST_USER_NOTE);
    if !file.exists() {
        let mut random = [0; 9];
        getrandom::fill(&mut random).named("auth.test_user")?;
        let password =
            base64::Engine::encode(&base64::engine::general_purpose::URL_SAFE_NO_PAD, random);
        let field = auth::hash_password(Scheme::Argon2id, &Secret::new(password.as_bytes()))
            .named("auth.test_user")?;
        auth::set_password(file, user, &field).named("auth.test_user")?;
        write_private(&note, &format!("{user}:{password}\n")).named("auth.test_user")?;
    }
    Ok(Some(std::fs::read_to_string(&note).map(|text| text.trim().to_owned()).unwrap_or_default()))
}

fn write_private(path: &Path, text: &str) -> std::io::Result<()> {
    let mut options = std::fs::OpenOptions::new();
    let mut file = options.write(true).create(true).truncate(true).mode(0o600).open(path)?;
    file.write_all(text.as_bytes())
}

fn quickstart_text(config: &Config, login: &str) -> String {
    let address = |kind| {
        let listener = config.listeners.iter().find(|listener| listener.kind == kind)?;
        listener.addresses.first().copied()
    };
    let mut lines = vec![String::from("Tollgate is ready.\n")];
    if let Some(smarthost) = address(ListenerKind::Smarthost) {
        lines.push(format!("  smarthost    {smarthost}   (loopback is trusted; the account is the sender's address)"));
    }
    if let Some(submission) = address(ListenerKind::Submission) {
        lines.push(format!("  submission   {submission}   (STARTTLS, then log in)"));
    }
    if let Some(listen) = config.http.listen {
        lines.push(format!("  metrics      http://{listen}/metrics"));
    }
    if let Some((user, password)) = login.split_once(':') {
        lines.push(format!("  test user    {user}   password {password}"));
    }
    if let deliver::Settings::Folder { path } = &config.next_hop {
        lines.push(format!("  mail lands   {}/new/", path.display()));
    }
    if let Some(smarthost) = address(ListenerKind::Smarthost) {
        lines.push(format!(
            "\nSend one:\n\n  printf 'From: alice@shop.example\\r\\nTo: bob@example.org\\r\\nSubject: hello\\r\\n\\r\\nhello\\r\\n' | \\\n    \
             curl -sS smtp://{smarthost} --mail-from alice@shop.example --mail-rcpt bob@example.org -T -\n"
        ));
    }
    lines.join("\n")
}

fn build_blocklist(config: &Config, clock: &Clock) -> Result<BlocklistSetup, AppError> {
    BlocklistSetup::new(config.blocklist.clone(), clock).named("blocklist")
}

/// What this node shares with others.
#[derive(Clone)]
struct Fleet {
    ledger: Arc<RedisLedger>,
    /// What goes on while Redis is lost, where that is wanted.
    sharing: Option<Arc<SharingLedger>>,
    records: Arc<RedisRecords>,
    stream: Arc<RedisStream>,
    settings: StreamSettings,
    progress: Arc<StreamProgress>,
}

impl Fleet {
    /// What is in Redis, where the configuration has one. It need not be there yet.
    fn build(
        config: &Config,
        (clock, events): (&Clock, &Events),
        copy: &Arc<SqliteStore>,
    ) -> Result<Option<Self>, AppError> {
        let Some(settings) = config.redis.clone() else { return Ok(None) };
        let name = format!("store.redis {}", settings.place);
        let (of_stream, shares) = (settings.stream.clone(), settings.shares);
        let ledger = RedisLedger::start(settings, clock.clone(), events.clone()).named(&name)?;
        let records = RedisRecords::start(&ledger, copy.clone()).named(&name)?;
        let stream = Arc::new(RedisStream::new(&ledger));
        let sharing = match shares {
            Some(nodes) => {
                let of_purse = (config.store.clone(), nodes);
                let world = (clock.clone(), events.clone());
                let sharing = SharingLedger::start(ledger.clone(), copy.clone(), of_purse, world);
                Some(sharing.named(&name)?)
            }
            None => None,
        };
        let progress = Arc::default();
        Ok(Some(Self { ledger, sharing, records, stream, settings: of_stream, progress }))
    }

    /// Where charges are decided.
    fn ledger(&self) -> Arc<dyn Ledger> {
        match &self.sharing {
            Some(sharing) => sharing.clone(),
            None => self.ledger.clone(),
        }
    }

    /// What all nodes hash recipients with, so that they count the same ones once. While Redis is away it is what is known here.
    async fn share_key(
        &self,
        archive: &Archive,
        key: RecipientKey,
    ) -> Result<RecipientKey, StoreError> {
        let own = archive.recipient_secret().await?;
        match self.stream.share_key(&own).await {
            Ok(shared) if shared != own => archive.set_recipient_key(shared).await,
            Ok(_) => Ok(key),
            Err(error) => {
                tracing::warn!(%error, "recipients are hashed with the key that is known here");
                Ok(key)
            }
        }
    }

    /// Starts what tells other nodes of events and hears of theirs.
    fn start_stream(&self, vital: &mut JoinSet<&'static str>, archive: &Archive, gate: &Gate) {
        let publisher = Publisher {
            archive: archive.clone(),
            stream: self.stream.clone(),
            settings: self.settings.clone(),
            progress: self.progress.clone(),
        };
        spawn(vital, "stream-publisher", publisher.run());
        let reader = StreamReader {
            archive: archive.clone(),
            stream: self.stream.clone(),
            clock: gate.clock.clone(),
            events: gate.events.clone(),
            node: self.settings.node.clone(),
            progress: self.progress.clone(),
        };
        spawn(vital, "stream-reader", reader.run());
    }

    /// Why it cannot be used at present; none if it can.
    fn failure(&self) -> Option<String> {
        if self.sharing.as_ref().is_some_and(|sharing| sharing.is_alone()) {
            return None;
        }
        self.ledger.outage().or_else(|| self.records.failure())
    }
}

fn build_outfit(config: &Config) -> Result<Outfit, AppError> {
    Outfit::new(config.alerts.clone()).named("alerts")
}

fn build_scanners(config: &Config, clock: &Clock, events: &Events) -> Result<Scanners, AppError> {
    let rspamd = config.scan.rspamd.as_ref();
    let verification = match rspamd.map(|it| (it.tls_ca.as_ref(), it.url.is_https())) {
        Some((Some(path), _)) => Verification::Authorities(path),
        Some((None, true)) => Verification::System,
        Some((None, false)) | None => Verification::NoAuthority,
    };
    let tls = client_config(verification).named("scan.rspamd")?;
    Scanners::new(config.scan.clone(), &tls, clock.clone(), events.clone()).named("scan.rspamd")
}

/// What looks after mailboxes, with what was known of them when the program ran last.
async fn build_storage(
    config: &Config,
    archive: &Archive,
    clock: &Clock,
) -> Result<StorageDesk, AppError> {
    let fresh_since = clock.utc() - config.storage.stale_after;
    let mailboxes = admin::load_mailboxes(archive, fresh_since).await.named("the archive")?;
    Ok(StorageDesk::new(mailboxes, build_source(config)?, config.storage.clone()))
}

fn build_source(config: &Config) -> Result<mailbox::Source, AppError> {
    Ok(match &config.storage.source {
        SourceSettings::Told => mailbox::Source::Told,
        SourceSettings::Maildirs(template, threads) => {
            mailbox::Source::Maildirs(Arc::new(Maildirs::new(template.clone(), *threads)))
        }
        SourceSettings::Doveadm(settings) => {
            let verification = match (&settings.tls_ca, settings.url.is_https()) {
                (Some(path), _) => Verification::Authorities(path),
                (None, true) => Verification::System,
                (None, false) => Verification::NoAuthority,
            };
            let tls = client_config(verification).named("storage.doveadm")?;
            let doveadm = Doveadm::new(settings.clone(), &tls).named("storage.doveadm")?;
            mailbox::Source::Doveadm(Arc::new(doveadm))
        }
    })
}

fn build_judge(config: &Config) -> Judge {
    let JudgeTables { traps, networks, tag_header } = config.judge.clone();
    Judge {
        settings: config.judgement.clone(),
        content: config.content.clone().unwrap_or_else(config::content_rules),
        traps,
        networks,
        tag_header,
    }
}

fn build_deliverer(config: &Config, gate: &Gate) -> Result<Deliverer, AppError> {
    let (clock, events, steering) = (&gate.clock, &gate.events, &gate.steering);
    let way = config.next_hop.clone();
    Deliverer::over(&Network::System, way, clock.clone(), events.clone(), steering.clone())
        .named("next_hop")
}

/// Takes all the file descriptors that the system allows and shares them out; says what does not fit.
fn share_descriptors(config: &Config) -> Result<Budget, AppError> {
    let descriptors = descriptors::raise_limit();
    let budget = config::budget(config, descriptors).ok_or("too few; raise LimitNOFILE=");
    let budget = budget.named(&format!("share out {descriptors} file descriptors"))?;
    for warning in &budget.warnings {
        tracing::warn!("{warning}");
    }
    Ok(budget)
}

fn open_doors(
    config: &Config,
    gate: &Gate,
    tls: Option<&Arc<TlsServer>>,
) -> Result<Vec<OpenDoor>, AppError> {
    config.listeners.iter().map(|settings| open_door(config, settings, gate, tls)).collect()
}

fn open_door(
    config: &Config,
    settings: &ListenerSettings,
    gate: &Gate,
    tls: Option<&Arc<TlsServer>>,
) -> Result<OpenDoor, AppError> {
    let bind = |address| Listener::bind(address).named(&format!("listener {}", settings.name));
    let sockets = settings.addresses.iter().copied().map(bind).collect::<Result<_, _>>()?;
    let door = Arc::new(ArcSwap::from_pointee(build_door(config, settings, gate, tls)));
    Ok(OpenDoor { door, sockets })
}

/// A listener as its connections see it.
#[must_use]
pub fn build_door(
    config: &Config,
    settings: &ListenerSettings,
    gate: &Gate,
    tls: Option<&Arc<TlsServer>>,
) -> Door {
    Door {
        session: config.session_settings(settings),
        places: Places::new(places_of(settings), &gate.house.scarcity),
        tls: tls.cloned(),
        settings: settings.clone(),
    }
}

const fn places_of(settings: &ListenerSettings) -> PlaceCounts {
    PlaceCounts {
        total: settings.connections_max,
        per_client: settings.connections_per_client_max,
        per_client_minute: settings.connections_per_client_minute,
    }
}

/// Accepts until the drain begins, then waits for its connections, or ends them when they are to be cut.
async fn accept_loop(
    gate: Arc<Gate>,
    door: Arc<ArcSwap<Door>>,
    (socket, mut beat): (Listener, Beat),
    mut phase: watch::Receiver<Phase>,
) {
    let mut running = JoinSet::new();
    let told = phase.clone();
    loop {
        tokio::select! {
            (stream, remote) = socket.accept() => {
                let door = door.load_full();
                running.spawn(connection::serve(gate.clone(), door, stream.into(), remote, told.clone()));
            }
            Some(ended) = running.join_next() => note_panic(&gate, ended),
            () = beat.asked() => if socket.has_accepted() { beat.answer() },
            _ = phase.wait_for(|&phase| phase != Phase::Serving) => break,
        }
    }
    drop(socket);
    loop {
        tokio::select! {
            ended = running.join_next() => match ended {
                Some(ended) => note_panic(&gate, ended),
                None => return,
            },
            _ = phase.wait_for(|&phase| phase == Phase::Cut) => break,
        }
    }
    running.shutdown().await;
}

fn note_panic(gate: &Gate, ended: Result<(), tokio::task::JoinError>) {
    if let Err(error) = ended.map_err(|error| error.to_string()) {
        gate.tell(&Event::TaskPanicked(Trouble { detail: error }));
    }
}

/// Looks after the next hops of whatever deliverer is in force.
async fn run_probes(gate: &Gate, mut replaced: watch::Receiver<u64>) {
    loop {
        replaced.mark_unchanged();
        let deliverer = Deliverer::clone(&gate.deliverer.load());
        let replacement = async {
            if replaced.changed().await.is_err() {
                std::future::pending::<()>().await;
            }
        };
        deliverer.run_probes(replacement).await;
    }
}

/// Tells when places become scarce and when they are ample again.
async fn run_scarcity(gate: &Gate) {
    let mut rooms = gate.house.scarcity.watch();
    // The gate holds the sender, so the watch does not end while it is watched.
    while rooms.wait_for(|&rooms| rooms > 0).await.is_ok() {
        gate.tell(&Event::PlacesScarce);
        if rooms.wait_for(|&rooms| rooms == 0).await.is_err() {
            return;
        }
        gate.tell(&Event::PlacesAmple);
    }
}

/// What is told of a password file that was read again: also that it is right again, if it was wrong.
fn notice_users(gate: &Gate, rejected: &AtomicBool, result: Result<usize, AuthError>) {
    let was_rejected = rejected.swap(result.is_err(), Relaxed);
    match result {
        Ok(users) => {
            tracing::info!(users, "the password file was read again");
            if was_rejected {
                gate.tell(&Event::ConfigReloaded);
            }
        }
        Err(error) => gate.tell(&Event::ConfigRejected(Trouble { detail: error.to_string() })),
    }
}

fn notice_dovecot(gate: &Gate, change: dovecot::Change) {
    let Some((place, _)) = gate.authenticator.dovecot_health() else { return };
    let backend = place.to_string();
    gate.tell(&match change {
        dovecot::Change::Up => {
            Event::LoginBackendUp(BackendState { backend, detail: String::new() })
        }
        dovecot::Change::Down(detail) => Event::LoginBackendDown(BackendState { backend, detail }),
    });
}

/// Says so where SCRAM is offered to users who cannot use it: many mail programs choose it and do not fall back.
/// A breaker that was open when the program stopped still is: metrics and alerts begin anew.
async fn tell_of_breaker(gate: &Gate) {
    if let Ok(Some(_)) = gate.court.standings.behaviour.wave().await {
        gate.events.tell(gate.clock.now(), &Event::BreakerOpened);
    }
}

fn warn_of_scram(config: &Config, authenticator: &Authenticator) {
    let (users, able) = (authenticator.users_count(), authenticator.scram_users_count());
    if config.logins.mechanisms.contains(&Mechanism::ScramSha256) && able < users {
        tracing::warn!(
            users,
            able,
            "auth.mechanisms offers SCRAM-SHA-256, but not every user has a {{SCRAM-SHA-256}} entry; those may fail to log in"
        );
    }
}

/// The task that writes what happened: it ends last, when nothing more can happen.
struct Collecting {
    collector: Option<Collector>,
    stop: Option<oneshot::Sender<()>>,
    done: Option<oneshot::Receiver<()>>,
}

impl Collecting {
    const fn of(collector: Collector) -> Self {
        Self { collector: Some(collector), stop: None, done: None }
    }

    fn start(&mut self, vital: &mut JoinSet<&'static str>, gate: &Gate) {
        let Some(collector) = self.collector.take() else { return };
        let ((stop, stopped), (ended, done)) = (oneshot::channel(), oneshot::channel());
        (self.stop, self.done) = (Some(stop), Some(done));
        let (events, records) = (gate.events.clone(), gate.records.clone());
        spawn(vital, "collector", async move {
            collector.run(events, records, async { drop(stopped.await) }).await;
            let _nobody_waits = ended.send(());
        });
    }

    /// Has everything written, as far as the archive takes it in time.
    async fn finish(&mut self) {
        drop(self.stop.take());
        let Some(done) = self.done.take() else { return };
        if tokio::time::timeout(COLLECT_TIME_MAX, done).await.is_err() {
            tracing::error!("the last events could not be written to the archive");
        }
    }
}

/// Whether the program can do its work.
struct Condition {
    gate: Arc<Gate>,
    store: Arc<SqliteStore>,
    fleet: Option<Fleet>,
    pulse: Arc<Pulse>,
    phase: watch::Receiver<Phase>,
}

impl Health for Condition {
    fn readiness(&self) -> BoxFuture<'_, Readiness> {
        let hops = self.gate.deliverer.load().health();
        let next_hops = hops
            .into_iter()
            .map(|hop| NextHopHealth {
                egress: hop.egress.to_vec(),
                avoided: hop.egress_use.why().map(ToString::to_string),
                next_hop: hop.name.to_string(),
                usable: hop.state != HopState::Down,
                detail: hop.last_error,
            })
            .collect();
        let readiness = Readiness {
            store_failure: self.store.failure().or_else(|| self.fleet.as_ref()?.failure()),
            listening_failure: listening_failure(self.pulse.silent()),
            logins_failure: self.gate.authenticator.dovecot_health().and_then(|(_, why)| why),
            events_failure: self.fleet.as_ref().and_then(|fleet| fleet.progress.failure()),
            next_hops,
            draining: *self.phase.borrow() != Phase::Serving,
        };
        Box::pin(std::future::ready(readiness))
    }
}

fn listening_failure((silent, all): (usize, usize)) -> Option<String> {
    (silent > 0).then(|| format!("{silent} of {all} sockets accept no connections"))
}

/// Starts a task that must never end.
fn spawn(
    vital: &mut JoinSet<&'static str>,
    name: &'static str,
    task: impl Future<Output = ()> + Send + 'static,
) {
    vital.spawn(async move {
        task.await;
        name
    });
}

struct Signals {
    hangup: Signal,
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    fn new() -> std::io::Result<Self> {
        Ok(Self {
            hangup: signal(SignalKind::hangup())?,
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
        })
    }

    /// Comes back at SIGTERM or SIGINT.
    async fn stop(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}

/// A ledger that is further ahead of the wall clock than this is worth a line in the log.
const CLOCK_AHEAD_TOLD: Duration = Duration::from_secs(60);
/// How long blocking work may go on after everything has ended.
const RUNTIME_STOP_TIME_MAX: Duration = Duration::from_secs(2);
/// How long the last events may take to be written.
const COLLECT_TIME_MAX: Duration = Duration::from_secs(5);
/// Where the test user's password can be read again.
const TEST_USER_NOTE: &str = "test-user";
/// How often the metrics' samples are folded together.
const METRICS_UPKEEP_EVERY: Duration = Duration::from_secs(5);
/// How often, and how many times, what the audit must have is tried: a day.
const AUDIT_RETRY_EVERY: Duration = Duration::from_secs(60);
const AUDIT_ATTEMPTS_MAX: u32 = 24 * 60;
/// How often the password file is looked at.
const PASSWD_WATCH_EVERY: Duration = Duration::from_secs(1);
