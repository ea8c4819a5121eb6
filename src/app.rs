//! Composition root: build, start, reload, drain, stop.
//!
//! The only module that knows everything and the only one that spawns tasks that live on. A panic in a connection ends that
//! connection; a panic in a task of the system ends the process, because half a gate is worse than none.

use crate::{
    admin::Admin,
    auth::Authenticator,
    clock::Clock,
    config::{self, Config, Moves},
    deliver::Deliverer,
    event::{Event, Events, Trouble},
    http,
    intake::{Door, Gate, ListenerSettings, connection, ids::Ids, places::Places},
    net::{listen::Listener, tls::TlsServer},
    spool::Spool,
    store::sqlite::{self, SqliteStore},
    telemetry::{self, Telemetry},
};
use arc_swap::ArcSwap;
use std::{
    future::Future,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};
use tokio::{
    signal::unix::{Signal, SignalKind, signal},
    sync::watch,
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
        .worker_threads(config.server.threads)
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
    gate: Arc<Gate>,
    tls: Option<Arc<TlsServer>>,
    doors: Vec<OpenDoor>,
    drain: watch::Sender<bool>,
}

/// A door with the sockets that lead to it. The door is replaced at a reload, the sockets stay.
struct OpenDoor {
    door: Arc<ArcSwap<Door>>,
    sockets: Vec<Listener>,
}

impl App {
    async fn build(source: Source, config: Config) -> Result<Self, AppError> {
        let telemetry = telemetry::start(&config.log).named("the log")?;
        let (drain, _) = watch::channel(false);
        std::fs::create_dir_all(&config.server.state_dir)
            .named(&format!("the state directory {}", config.server.state_dir.display()))?;
        let opened = sqlite::open(&config.store).named(&format!("the store {}", config.store.path.display()))?;
        let clock = Clock::start(opened.high_water());
        let events = Events::new(telemetry.listeners());
        let store = opened
            .start(clock.clone(), events.clone())
            .named(&format!("the store {}", config.store.path.display()))?;
        let tls = config.tls.clone().map(TlsServer::new).transpose().named("the certificate")?.map(Arc::new);
        config::make_test_user(&config).named("the test user")?;
        let gate = Arc::new(build_gate(&config, &store, clock, events).await?);
        let doors = open_doors(&config, tls.as_ref())?;
        Ok(Self { source, config, telemetry, store, gate, tls, doors, drain })
    }

    async fn run(mut self) -> Result<(), AppError> {
        let mut signals = Signals::new().named("signals")?;
        let mut vital = JoinSet::new();
        let mut connections = JoinSet::new();
        self.start_tasks(&mut vital).await?;
        for open in std::mem::take(&mut self.doors) {
            let swap = open.door.clone();
            for socket in open.sockets {
                connections.spawn(accept_loop(self.gate.clone(), swap.clone(), socket, self.drain.subscribe()));
            }
            self.doors.push(OpenDoor { door: open.door, sockets: Vec::new() });
        }
        tracing::info!(version = env!("CARGO_PKG_VERSION"), "tollgate serves");
        self.announce();
        let _no_systemd = sd_notify::notify(&[sd_notify::NotifyState::Ready]);
        let outcome = self.live(&mut signals, &mut vital).await;
        self.stop(&mut signals, connections).await;
        outcome
    }

    /// Waits for signals until one of them, or the end of a vital task, ends the program.
    async fn live(
        &mut self,
        signals: &mut Signals,
        vital: &mut JoinSet<&'static str>,
    ) -> Result<(), AppError> {
        loop {
            tokio::select! {
                _ = signals.hangup.recv() => self.reload().await,
                () = signals.stop() => return Ok(()),
                Some(ended) = vital.join_next() => {
                    let name = ended.unwrap_or("panicked");
                    return Err(AppError::TaskEnded(name));
                }
            }
        }
    }

    /// Lets what runs come to its end within `server.drain_time_max`, then closes the store.
    async fn stop(&self, signals: &mut Signals, mut connections: JoinSet<()>) {
        let _no_systemd = sd_notify::notify(&[sd_notify::NotifyState::Stopping]);
        tracing::info!("tollgate drains");
        let _nobody_listens = self.drain.send(true);
        let all_ended = async { while connections.join_next().await.is_some() {} };
        tokio::select! {
            () = all_ended => {}
            () = tokio::time::sleep(self.config.server.drain_time_max) => {
                tracing::warn!("connections were cut at the end of the drain time");
            }
            () = signals.stop() => tracing::warn!("a second signal cut the drain short"),
        }
        connections.shutdown().await;
        self.store.close();
        tracing::info!("tollgate ends");
        self.telemetry.flush();
    }

    async fn start_tasks(&self, vital: &mut JoinSet<&'static str>) -> Result<(), AppError> {
        let gate = &self.gate;
        let prober = gate.clone();
        spawn(vital, "next-hop probe", async move { run_probes(&prober).await });
        let watcher = gate.clone();
        let events = gate.clone();
        spawn(vital, "password file", async move {
            let notice = |result: Result<usize, _>| match result {
                Ok(users) => tracing::info!(users, "the password file was read again"),
                Err(error) => events.tell(&Event::ConfigRejected(Trouble { detail: error.to_string() })),
            };
            watcher.authenticator.run_watch(PASSWD_WATCH_EVERY, notice).await;
        });
        self.start_http(vital).await
    }

    async fn start_http(&self, vital: &mut JoinSet<&'static str>) -> Result<(), AppError> {
        let admin = Arc::new(Admin {
            ledger: self.gate.ledger.clone(),
            records: self.gate.records.clone(),
            policy: self.gate.policy.clone(),
            clock: self.gate.clock.clone(),
            events: self.gate.events.clone(),
        });
        let state = http::State {
            admin,
            metrics: self.telemetry.metrics(),
            readiness: Arc::new(readiness(self.gate.clone(), self.store.clone(), self.drain.subscribe())),
        };
        if let Some(address) = self.config.http.listen {
            let socket = tokio::net::TcpListener::bind(address)
                .await
                .named(&format!("http.listen {address}"))?;
            let state = state.clone();
            spawn(vital, "http", async move { http::serve_public(socket, state).await });
        }
        let path = self.config.http.control.clone();
        let socket = http::bind_control(&path).named(&format!("control.socket {}", path.display()))?;
        spawn(vital, "control socket", async move { http::serve_control(socket, state).await });
        Ok(())
    }

    /// Reads everything again; what is wrong leaves the old in force and says why.
    async fn reload(&mut self) {
        let _no_systemd = sd_notify::notify(&[sd_notify::NotifyState::Reloading]);
        self.telemetry.reopen();
        match self.try_reload().await {
            Ok(()) => self.gate.tell(&Event::ConfigReloaded),
            Err(error) => self.gate.tell(&Event::ConfigRejected(Trouble { detail: error.to_string() })),
        }
        let _no_systemd = sd_notify::notify(&[sd_notify::NotifyState::Ready]);
    }

    async fn try_reload(&mut self) -> Result<(), AppError> {
        let config = config::load(&self.source.path, &self.source.moves)?;
        for fixed in config.fixed_differences(&self.config) {
            tracing::warn!(key = fixed, "this key changes only with a restart");
        }
        if let Some(tls) = &self.tls {
            tls.reload().named("the certificate")?;
            self.gate.tell(&Event::CertificatesReloaded);
        }
        self.gate.authenticator.reload().await.named("the password file")?;
        let deliverer = build_deliverer(&config, &self.gate.clock, &self.gate.events)?;
        deliverer.probe_once().await;
        self.gate.deliverer.store(Arc::new(deliverer));
        self.store.set_history(config.store.history);
        self.gate.policy.store(Arc::new(config.policy.clone()));
        self.replace_doors(&config);
        self.config = config;
        Ok(())
    }

    /// New connections get the listeners' new settings; addresses stay until a restart.
    fn replace_doors(&self, config: &Config) {
        for open in &self.doors {
            let name = open.door.load().settings.name.clone();
            if let Some(settings) = config.listeners.iter().find(|listener| listener.name == name) {
                open.door.store(Arc::new(build_door(config, settings, self.tls.as_ref())));
            }
        }
    }

    fn announce(&self) {
        if let Some(text) = self.config.announcement() {
            crate::cli::output::print(&text);
        }
    }
}

impl Gate {
    fn tell(&self, event: &Event) {
        self.events.tell(self.clock.now(), event);
    }
}

async fn build_gate(
    config: &Config,
    store: &Arc<SqliteStore>,
    clock: Clock,
    events: Events,
) -> Result<Gate, AppError> {
    let deliverer = build_deliverer(config, &clock, &events)?;
    deliverer.probe_once().await;
    Ok(Gate {
        ledger: store.clone(),
        records: store.clone(),
        deliverer: ArcSwap::from_pointee(deliverer),
        spool: Spool::new(config.spool.clone()).named("the spool")?,
        authenticator: Arc::new(Authenticator::new(config.auth.clone()).named("the password file")?),
        policy: Arc::new(ArcSwap::from_pointee(config.policy.clone())),
        ids: Ids::new(clock.now()),
        clock,
        events,
    })
}

fn build_deliverer(config: &Config, clock: &Clock, events: &Events) -> Result<Deliverer, AppError> {
    Deliverer::new(config.deliver.clone(), clock.clone(), events.clone()).named("next_hop")
}

fn open_doors(config: &Config, tls: Option<&Arc<TlsServer>>) -> Result<Vec<OpenDoor>, AppError> {
    config.listeners.iter().map(|settings| open_door(config, settings, tls)).collect()
}

fn open_door(
    config: &Config,
    settings: &ListenerSettings,
    tls: Option<&Arc<TlsServer>>,
) -> Result<OpenDoor, AppError> {
    let bind = |address| Listener::bind(address).named(&format!("listener {}", settings.name));
    let sockets = settings.addresses.iter().copied().map(bind).collect::<Result<_, _>>()?;
    let door = Arc::new(ArcSwap::from_pointee(build_door(config, settings, tls)));
    Ok(OpenDoor { door, sockets })
}

fn build_door(config: &Config, settings: &ListenerSettings, tls: Option<&Arc<TlsServer>>) -> Door {
    Door {
        session: config.session_of(settings),
        places: Places::new(settings.connections_max, settings.connections_per_client_max),
        tls: tls.cloned(),
        settings: settings.clone(),
    }
}

/// Accepts until the drain begins, then waits for its connections.
async fn accept_loop(
    gate: Arc<Gate>,
    door: Arc<ArcSwap<Door>>,
    socket: Listener,
    mut drain: watch::Receiver<bool>,
) {
    let mut running = JoinSet::new();
    loop {
        tokio::select! {
            (stream, remote) = socket.accept() => {
                let serve = connection::serve(gate.clone(), door.load_full(), stream, remote, drain.clone());
                running.spawn(serve);
            }
            Some(ended) = running.join_next() => note_panic(&gate, ended),
            _ = drain.wait_for(|&draining| draining) => break,
        }
    }
    drop(socket);
    while let Some(ended) = running.join_next().await {
        note_panic(&gate, ended);
    }
}

fn note_panic(gate: &Gate, ended: Result<(), tokio::task::JoinError>) {
    if let Err(error) = ended.map_err(|error| error.to_string()) {
        gate.tell(&Event::TaskPanicked(Trouble { detail: error }));
    }
}

/// Looks after the next hops of whatever deliverer is in force.
async fn run_probes(gate: &Gate) {
    loop {
        let deliverer = gate.deliverer.load_full();
        deliverer.tend().await;
    }
}

fn readiness(
    gate: Arc<Gate>,
    store: Arc<SqliteStore>,
    drain: watch::Receiver<bool>,
) -> impl Fn() -> Vec<&'static str> + Send + Sync {
    move || {
        let mut missing = Vec::new();
        if *drain.borrow() {
            missing.push("draining");
        }
        if !store.is_writable() {
            missing.push("store");
        }
        if !gate.deliverer.load().is_usable() {
            missing.push("next-hop");
        }
        missing
    }
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

/// How long blocking work may go on after everything has ended.
const RUNTIME_STOP_TIME_MAX: Duration = Duration::from_secs(2);
/// How often the password file is looked at.
const PASSWD_WATCH_EVERY: Duration = Duration::from_secs(1);
