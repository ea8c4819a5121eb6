//! The simulated machine: its clocks, its network, its disk, and the gate that runs on it, is killed and is started again.

use super::{
    book::{Book, Millis, Party},
    chance::Chance,
    disk::{Disk, Store},
    hop::Visit,
    plot::Plot,
    shadow::Shadow,
};
use parking_lot::Mutex;
use std::{
    io,
    net::SocketAddr,
    path::Path,
    sync::{Arc, Weak},
    time::{Duration, Instant},
};
use tokio::{
    sync::{Notify, watch},
    task::{AbortHandle, JoinSet},
};
use tollgate::{
    app::{Ground, build_door, build_gate},
    clock::{Clock, Machine, steady_now},
    config::{self, Config, Moves},
    deliver::Deliverer,
    event::{Event, Events, Listener, Outcome},
    intake::{Door, Gate, Phase, connection},
    message::SubjectKey,
    net::{
        Pipe, Stream,
        connect::{Dialing, Network, Simulated},
    },
    rules::tally::RecipientKey,
    store::{
        behaviour::Minds, mailboxes::Mailboxes, memory::MemoryStore, records::Records, sqlite,
    },
    types::{ReversePath, Timestamp},
};

/// Everything that one seed plays with.
pub(crate) struct World {
    me: Weak<World>,
    pub(crate) plot: Plot,
    booted: Instant,
    machine: Machine,
    wall: Mutex<Wall>,
    book: Mutex<Book>,
    chance: Mutex<Chance>,
    running: Mutex<Option<Running>>,
    epoch: Mutex<u64>,
    changes: Mutex<u64>,
    memory: Option<Arc<MemoryStore>>,
    shadow: Arc<Mutex<Shadow>>,
    told: Arc<Mutex<Vec<Told>>>,
    /// Whoever waits for the next final dot.
    dots: Notify,
}

/// How far the clocks are ahead of the time since boot, in milliseconds.
#[derive(Default)]
struct Wall {
    stepped: i64,
    /// The ledger's, when the gate last ended.
    ledger: i64,
}

/// The gate while it runs.
struct Running {
    gate: Arc<Gate>,
    doors: Vec<Arc<Door>>,
    disk: Arc<Disk>,
    phase: watch::Sender<Phase>,
    connections: JoinSet<()>,
    probes: AbortHandle,
}

/// What the gate's own events said of a message that counts as sent.
pub(crate) struct Told {
    /// The moment in the ledger from which it ages.
    pub(crate) stamp: Timestamp,
    /// The class and the name of each window, as in the book.
    pub(crate) windows: [(&'static str, String); 2],
    pub(crate) recipients: u32,
}

struct Ear(Arc<Mutex<Vec<Told>>>);

impl Listener for Ear {
    fn notice(&self, at: Timestamp, event: &Event) {
        if let Event::Message(report) = event
            && let Some(charged) = report.charged.as_ref().filter(|_| report.recipients_sent > 0)
        {
            let later =
                if report.outcome == Outcome::Unknown { UNKNOWN_MARGIN } else { Duration::ZERO };
            let class = if report.sender == ReversePath::Null { "null-sender" } else { "account" };
            self.0.lock().push(Told {
                stamp: at + later,
                windows: [
                    (class, charged.account.to_string()),
                    ("tenant", charged.tenant.to_string()),
                ],
                recipients: report.recipients_sent,
            });
        }
    }
}

/// The network as the gate sees it.
struct Wires(Weak<World>);

impl Simulated for Wires {
    fn dial(&self, host: &str, _port: u16) -> Dialing {
        let (world, host) = (self.0.clone(), host.to_owned());
        Box::pin(async move {
            let world = world.upgrade().ok_or(io::ErrorKind::NetworkDown)?;
            world.dial(&host).await
        })
    }

    fn random(&self) -> u64 {
        self.0.upgrade().map_or(0, |world| world.chance.lock().next())
    }
}

impl World {
    pub(crate) fn new(plot: Plot, mut chance: Chance, traced: bool) -> Arc<Self> {
        let book = Book::new(plot.rules(), plot.patience(), traced);
        let machine = Machine::boot(plot.start);
        let memory = (!plot.file)
            .then(|| Arc::new(MemoryStore::new(Duration::from_secs(86_400), UNKNOWN_MARGIN)));
        Arc::new_cyclic(|me| Self {
            me: me.clone(),
            plot,
            booted: steady_now(),
            machine,
            wall: Mutex::default(),
            book: Mutex::new(book),
            chance: Mutex::new(chance.fork()),
            running: Mutex::new(None),
            epoch: Mutex::new(0),
            changes: Mutex::new(0),
            memory,
            shadow: Arc::default(),
            told: Arc::default(),
            dots: Notify::new(),
        })
    }

    // ── time ──

    pub(crate) fn now(&self) -> Millis {
        Millis::try_from(steady_now().duration_since(self.booted).as_millis()).unwrap()
    }

    pub(crate) fn is_over(&self) -> bool {
        self.now() >= self.plot.length
    }

    /// Changes whenever the gate is killed or stopped.
    pub(crate) fn epoch(&self) -> u64 {
        *self.epoch.lock()
    }

    /// Counts what moves limits or histories: reloads, overrides, ends of the program.
    pub(crate) fn changes(&self) -> u64 {
        *self.changes.lock() + self.epoch()
    }

    pub(crate) fn note_change(&self) {
        *self.changes.lock() += 1;
    }

    pub(crate) fn is_draining(&self) -> bool {
        self.running.lock().as_ref().is_none_or(|it| *it.phase.borrow() != Phase::Serving)
    }

    // ── the gate ──

    pub(crate) fn start(&self, folder: &Path) {
        self.set_wall_right();
        let config = self.config(folder);
        let (store, high_water) = match &self.memory {
            Some(memory) => (None, memory.high_water()),
            None => {
                let opened = sqlite::open(&config.store).unwrap();
                let high_water = opened.high_water();
                (Some(opened), high_water)
            }
        };
        let clock = Clock::start_on(&self.machine, high_water);
        let events = Events::new(vec![Box::new(Ear(self.told.clone()))]);
        let store = match (store, &self.memory) {
            (Some(opened), _) => Store::File(opened.start(&clock, events.clone()).unwrap()),
            (None, Some(memory)) => Store::Memory(memory.clone()),
            (None, None) => unreachable!("there is one or the other"),
        };
        let (failing, slow) = (self.plot.disk_failing, self.plot.disk_slow);
        let shadow = self.shadow.clone();
        let disk = Disk::new(store, shadow, self.chance.lock().fork(), failing, slow);
        let network = self.network();
        let (ledger, records) = (disk.clone(), disk.clone());
        let subjects = SubjectKey::new(&[7; 32]);
        // What is remembered of senders is lost with the machine here: limits must hold without it.
        let behaviour = Arc::new(Minds::default());
        let recipients = RecipientKey::new(&[8; 32]);
        let mailboxes = Mailboxes::default();
        let ground = Ground {
            ledger,
            records,
            behaviour,
            mailboxes,
            network,
            clock,
            subjects,
            recipients,
            events,
        };
        let gate = Arc::new(build_gate(&config, ground).unwrap());
        let door = |settings| Arc::new(build_door(&config, settings, &gate, None));
        let doors = config.listeners.iter().map(door).collect();
        let (phase, _) = watch::channel(Phase::Serving);
        let deliverer = Deliverer::clone(&gate.deliverer.load());
        let probes = tokio::spawn(probe_now_and_then(deliverer)).abort_handle();
        let connections = JoinSet::new();
        self.note(|| "the gate starts".into());
        *self.running.lock() = Some(Running { gate, doors, disk, phase, connections, probes });
    }

    fn network(&self) -> Network {
        Network::Simulated(Arc::new(Wires(self.me.clone())))
    }

    fn config(&self, folder: &Path) -> Config {
        let now = self.now();
        let text = self.plot.config(folder, now);
        self.with_book(|book| {
            let figures = self.plot.figures(now);
            book.rules.iter_mut().zip(figures).for_each(|(rule, max)| rule.change(now, max));
        });
        let config = config::parse(&text, Path::new("sim.toml"), &Moves::default());
        let mut config = config.unwrap_or_else(|error| panic!("{error}\n{text}"));
        config.auth.hashing = tollgate::auth::Hashing::OnTheSpot;
        config
    }

    pub(crate) fn step_wall(&self, millis: i64) {
        self.wall.lock().stepped += millis;
        self.machine.step_wall(millis);
    }

    /// A forward step across a restart looks like down time, and an hour of charges has aged (docs/known-limits.md), so it is
    /// taken back before.
    fn set_wall_right(&self) {
        let surplus = {
            let wall = self.wall.lock();
            wall.stepped - wall.ledger
        };
        if surplus > 0 {
            self.step_wall(-surplus);
        }
    }

    fn note_ledger_time(&self, clock: &Clock) {
        let ahead = clock.now().as_millis() - self.plot.start.as_millis() - self.now();
        self.wall.lock().ledger = ahead;
    }

    /// Ends the process at this instant.
    pub(crate) async fn kill(&self) {
        let Some(mut running) = self.running.lock().take() else { return };
        *self.epoch.lock() += 1;
        self.note_ledger_time(&running.gate.clock);
        self.note(|| "the gate is killed".into());
        running.disk.kill();
        running.connections.abort_all();
        running.probes.abort();
        while let Some(ended) = running.connections.join_next().await {
            self.check_end(ended);
        }
    }

    /// Drains, cuts what is left, and closes the store.
    pub(crate) async fn stop(&self) {
        let Some(phase) = self.running.lock().as_ref().map(|running| running.phase.clone()) else {
            return;
        };
        self.note(|| "the gate drains".into());
        phase.send_replace(Phase::Draining);
        tokio::time::sleep(Duration::from_secs(30)).await;
        let Some(mut running) = self.running.lock().take() else { return };
        *self.epoch.lock() += 1;
        self.note_ledger_time(&running.gate.clock);
        running.phase.send_replace(Phase::Cut);
        running.probes.abort();
        running.connections.shutdown().await;
        tokio::task::yield_now().await;
        running.disk.close();
        self.note(|| "the gate has stopped".into());
    }

    /// Reads the configuration of this moment; the next hops are new ones, as if something about them had changed, too.
    pub(crate) fn reload(&self, folder: &Path) {
        let config = self.config(folder);
        self.note_change();
        if let Some(running) = &mut *self.running.lock() {
            let gate = &running.gate;
            let (clock, events) = (gate.clock.clone(), gate.events.clone());
            let steering = gate.steering.clone();
            let deliverer =
                Deliverer::over(&self.network(), config.next_hop, clock, events, steering);
            let deliverer = deliverer.unwrap();
            running.probes.abort();
            running.probes = tokio::spawn(probe_now_and_then(deliverer.clone())).abort_handle();
            gate.deliverer.store(Arc::new(deliverer));
            gate.policy.store(Arc::new(config.policy));
        }
    }

    /// The gate that runs now.
    pub(crate) fn gate(&self) -> Option<Arc<Gate>> {
        self.running.lock().as_ref().map(|running| running.gate.clone())
    }

    /// A client connects; none if nobody listens.
    pub(crate) fn connect(&self, door: &str, remote: SocketAddr) -> Option<Pipe> {
        let mut running = self.running.lock();
        let running = running.as_mut()?;
        let serving = *running.phase.borrow() == Phase::Serving;
        let door =
            running.doors.iter().find(|it| &*it.settings.name == door).filter(|_| serving)?;
        let buffer = *self.chance.lock().pick(&[300, 4_000, 65_536, 65_536]);
        let here = door.settings.addresses[0];
        let (client, server) = Pipe::pair(buffer, [remote, here]);
        let (gate, door, phase) = (running.gate.clone(), door.clone(), running.phase.subscribe());
        running.connections.spawn(connection::serve(
            gate,
            door,
            Stream::from(server),
            remote,
            phase,
        ));
        while let Some(ended) = running.connections.try_join_next() {
            self.check_end(ended);
        }
        Some(client)
    }

    fn check_end(&self, ended: Result<(), tokio::task::JoinError>) {
        if let Err(error) = ended
            && error.is_panic()
        {
            self.blame(format!("a connection's task panicked: {error}"));
        }
    }

    /// Ends of connections that nobody looked at yet.
    pub(crate) fn open_connections(&self) -> usize {
        let mut running = self.running.lock();
        let Some(running) = running.as_mut() else { return 0 };
        while let Some(ended) = running.connections.try_join_next() {
            self.check_end(ended);
        }
        running.connections.len()
    }

    // ── next hops ──

    async fn dial(self: Arc<Self>, host: &str) -> io::Result<Pipe> {
        let temper = self.plot.temper_of(host, self.now());
        let mut chance = self.chance.lock().fork();
        if chance.permille(temper.unreachable) {
            if chance.permille(300) {
                std::future::pending::<()>().await;
            }
            return Err(io::ErrorKind::ConnectionRefused.into());
        }
        let wait = Duration::from_millis(chance.spread(1, 200));
        tokio::time::sleep(wait).await;
        let buffer = *chance.pick(&[512, 8_192, 65_536]);
        let addresses = ["192.0.2.1:40000", "192.0.2.99:25"].map(|text| text.parse().unwrap());
        let (ours, theirs) = Pipe::pair(buffer, addresses);
        let visit = Visit::new(self.clone(), host.to_owned(), temper, chance, theirs);
        tokio::spawn(visit.run());
        Ok(ours)
    }

    // ── the book ──

    pub(crate) fn note(&self, text: impl FnOnce() -> String) {
        self.book.lock().note(self.now(), text);
    }

    pub(crate) fn blame(&self, text: String) {
        self.book.lock().blame(self.now(), text);
    }

    pub(crate) fn begin(&self, party: Option<Party>) -> usize {
        self.book.lock().begin(party, self.now())
    }

    pub(crate) fn send(&self, id: usize, recipients: Vec<String>, text: Vec<u8>) {
        self.book.lock().send(id, recipients, text);
    }

    pub(crate) fn dot(&self, id: usize) {
        self.book.lock().dot(id, self.now());
    }

    pub(crate) fn heard(&self, id: usize, code: u16) {
        self.book.lock().heard(id, code, self.now());
        self.check_ledger(false);
    }

    pub(crate) fn limited(&self) {
        self.book.lock().tally.limited += 1;
    }

    pub(crate) fn take(&self, hop: &str, recipients: &[String], text: &[u8]) -> Option<usize> {
        let now = self.now();
        let mut book = self.book.lock();
        let id = book.take(recipients, text, now);
        book.note(now, || format!("{hop}: takes {id:?} for {} recipients", recipients.len()));
        id
    }

    pub(crate) fn answered(&self, id: usize) {
        self.book.lock().answered(id, self.now());
    }

    /// Blames the ledger for what its shadow would have answered otherwise, and at the end for what is still open.
    pub(crate) fn check_ledger(&self, at_the_end: bool) {
        let mut shadow = self.shadow.lock();
        let mut wrong = std::mem::take(&mut shadow.wrong);
        if at_the_end {
            wrong.extend(shadow.open().into_iter().map(|open| format!("never settled: {open}")));
        }
        wrong.into_iter().for_each(|wrong| self.blame(wrong));
    }

    /// A next hop has read a final dot.
    pub(crate) fn dot_arrived(&self) {
        self.dots.notify_waiters();
    }

    /// Waits until a next hop reads a final dot; false if none does before everybody goes home.
    pub(crate) async fn wait_for_dot(&self) -> bool {
        let left = u64::try_from(self.plot.length - self.now()).unwrap_or(0);
        let wait = Duration::from_millis(left);
        tokio::time::timeout(wait, self.dots.notified()).await.is_ok()
    }

    /// Looks into the book.
    pub(crate) fn with_book<T>(&self, look: impl FnOnce(&mut Book) -> T) -> T {
        look(&mut self.book.lock())
    }

    /// Recipients that the gate's events called sent or unknown, as far as they are still in a window that began at `since`.
    pub(crate) fn told(&self, class: &str, name: &str, since: Timestamp) -> u32 {
        let told = self.told.lock();
        let concerns = |told: &&Told| {
            told.stamp > since && told.windows.iter().any(|(c, n)| *c == class && n == name)
        };
        told.iter().filter(concerns).map(|told| told.recipients).sum()
    }
}

/// The configuration's default.
const UNKNOWN_MARGIN: Duration = Duration::from_secs(600);

/// The prober looks every second; over virtual days that would be most of the work, so it looks for two seconds now and then.
async fn probe_now_and_then(deliverer: Deliverer) {
    loop {
        let a_while = tokio::time::sleep(Duration::from_secs(2));
        deliverer.clone().run_probes(a_while).await;
        tokio::time::sleep(Duration::from_secs(600)).await;
    }
}
