//! Plays one seed to its end and looks at what is left.

use super::{
    book::{Millis, Special, Tally},
    chance::Chance,
    client,
    plot::{Incident, Plot},
    world::World,
};
use std::{path::Path, sync::Arc, time::Duration};
use tokio::task::JoinSet;
use tollgate::{
    rules::limits::LimitOverride,
    store::{
        Whose,
        ledger::Ledger,
        records::{Change, What},
    },
    types::{Actor, Key, Limit, Scope, Span, SubjectId, Unit},
};

/// What came of a seed.
#[derive(Default)]
pub(crate) struct Outcome {
    seed: u64,
    pub(crate) violations: Vec<String>,
    pub(crate) trace: String,
    tally: Tally,
    hours: u64,
}

impl Outcome {
    pub(crate) fn report(&self) -> String {
        let lines: Vec<&str> = self.trace.lines().collect();
        let wrong = lines.iter().position(|line| line.contains("VIOLATION"));
        let end = wrong.map_or(lines.len(), |at| at + 1);
        let end = lines[end.saturating_sub(TRACE_LINES_SHOWN)..end].join("\n");
        let seed = self.seed;
        format!("{end}\n\nseed {seed} broke a promise (SIM_SEED={seed}): {:#?}", self.violations)
    }

    pub(crate) fn add(&mut self, other: &Self) {
        self.hours += other.hours;
        self.tally.begun += other.tally.begun;
        self.tally.taken += other.tally.taken;
        self.tally.confirmed += other.tally.confirmed;
        self.tally.limited += other.tally.limited;
        self.tally.crashes += other.tally.crashes;
    }

    pub(crate) fn summary(&self) -> String {
        let Tally { begun, taken, confirmed, limited, crashes } = self.tally;
        let days = self.hours / 24;
        format!(
            "{days} virtual days, {begun} transactions, {taken} messages taken, {confirmed} confirmed, \
             {limited} refusals of limits, {crashes} crashes and restarts"
        )
    }
}

/// Plays a seed; `traced` keeps all that happens.
pub(crate) fn play(seed: u64, traced: bool) -> Outcome {
    let mut chance = Chance::new(seed);
    let plot = Plot::new(&mut chance);
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("users"), plot.users()).unwrap();
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
    runtime.unwrap().block_on(async {
        let world = World::new(plot, chance.fork(), traced);
        run(&world, folder.path(), &mut chance).await;
        world.with_book(|book| Outcome {
            seed,
            violations: std::mem::take(&mut book.violations),
            trace: book.trace().to_owned(),
            tally: book.tally,
            hours: u64::try_from(world.plot.length).unwrap() / 3_600_000,
        })
    })
}

async fn run(world: &Arc<World>, folder: &Path, chance: &mut Chance) {
    world.start(folder);
    let mut lives = JoinSet::new();
    for customer in world.plot.customers.clone() {
        lives.spawn(client::live(world.clone(), customer, chance.fork()));
    }
    let folder = folder.to_owned();
    let fate = tokio::spawn(let_happen(world.clone(), folder));
    while let Some(ended) = lives.join_next().await {
        if let Err(error) = ended {
            world.blame(format!("a customer's task failed: {error}"));
        }
    }
    if let Err(error) = fate.await {
        world.blame(format!("the incidents' task failed: {error}"));
    }
    check_the_end(world).await;
    world.stop().await;
}

/// Lets everything happen at its moment.
async fn let_happen(world: Arc<World>, folder: std::path::PathBuf) {
    let mut later = JoinSet::new();
    for (at, incident) in world.plot.incidents.clone() {
        let wait = u64::try_from(at - world.now()).unwrap_or(0);
        tokio::time::sleep(Duration::from_millis(wait)).await;
        world.note(|| format!("{incident:?}"));
        match incident {
            Incident::Crash(pause) => {
                world.kill().await;
                come_back(&world, &folder, pause).await;
            }
            Incident::CrashAtDot(pause) => {
                if world.wait_for_dot().await {
                    world.kill().await;
                    come_back(&world, &folder, pause).await;
                }
            }
            Incident::Restart(pause) => {
                world.stop().await;
                come_back(&world, &folder, pause).await;
            }
            Incident::Reload => world.reload(&folder),
            Incident::StepWall(millis) => world.step_wall(millis),
            Incident::Suspend { name, is_tenant, millis } => {
                let subject = subject(&name, is_tenant);
                later.spawn(suspend(world.clone(), name, subject, millis));
            }
            Incident::Override { line, name, max, millis } => {
                later.spawn(set_override(world.clone(), line, name, max, millis));
            }
        }
    }
    while later.join_next().await.is_some() {}
}

async fn come_back(world: &Arc<World>, folder: &Path, pause: u64) {
    world.with_book(|book| book.tally.crashes += 1);
    tokio::time::sleep(Duration::from_millis(pause)).await;
    world.start(folder);
}

fn subject(name: &str, is_tenant: bool) -> SubjectId {
    if is_tenant {
        SubjectId::Tenant(name.parse().unwrap())
    } else {
        SubjectId::Account(name.parse().unwrap())
    }
}

async fn change(world: &World, subject: SubjectId, what: What) -> bool {
    let Some(gate) = world.gate() else { return false };
    let (reason, actor) = ("the simulation wants it".to_owned(), Actor::automatic("sim"));
    let change = Change { subject, what, reason, evidence: None, actor };
    gate.records.change(change, gate.clock.now()).await.is_ok()
}

async fn suspend(world: Arc<World>, name: String, subject: SubjectId, millis: u64) {
    let case = What::suspend("c-1".parse().unwrap());
    if !change(&world, subject.clone(), case).await {
        return;
    }
    world.with_book(|book| book.suspend(&name, world.now()));
    tokio::time::sleep(Duration::from_millis(millis)).await;
    loop {
        // The book first: from the moment of the call on, mail may pass.
        world.with_book(|book| book.resume(&name, world.now()));
        if change(&world, subject.clone(), What::resume()).await {
            return;
        }
        tokio::time::sleep(Duration::from_secs(60)).await;
    }
}

/// Sets an override and takes it away again. It has no end of its own: that would follow the steps of the wall clock.
async fn set_override(world: Arc<World>, line: usize, name: String, max: Option<u32>, millis: u64) {
    let Some(gate) = world.gate() else { return };
    let (class, window) = world.plot.place(line);
    let now = gate.clock.now();
    let given = LimitOverride {
        scope: if class == "tenant" { Scope::Tenant } else { Scope::Account },
        unit: Unit::Recipients,
        window: Span::from_secs(u64::try_from(window / 1000).unwrap()),
        max,
        until: None,
        reason: "the simulation wants it".to_owned(),
        actor: "sim".to_owned(),
        since: now,
    };
    let subject = subject(&name, class == "tenant");
    if !change(&world, subject.clone(), What::SetOverride(given.clone())).await {
        return;
    }
    note_special(&world, (class, window), &name, max.map_or(Special::Lifted, Special::Max));
    tokio::time::sleep(Duration::from_millis(millis)).await;
    loop {
        // The book first: from the moment of the call on, the plan may hold again.
        note_special(&world, (class, window), &name, Special::None);
        let cleared = change(&world, subject.clone(), What::ClearOverride(given.clone())).await;
        // Where the gate runs, somebody else has taken it away.
        if cleared || world.gate().is_some() {
            return;
        }
        tokio::time::sleep(Duration::from_secs(60)).await;
    }
}

fn note_special(world: &World, place: (&str, Millis), name: &str, special: Special) {
    world.note_change();
    world.with_book(|book| {
        let rule = book.rules.iter_mut().find(|rule| (rule.class, rule.window) == place);
        rule.unwrap().set_special(name, world.now(), special);
    });
}

/// Everybody has gone home: nothing may be open, held or miscounted.
async fn check_the_end(world: &Arc<World>) {
    // Everything that a next hop still may take is taken by then, and all waits have ended.
    tokio::time::sleep(Duration::from_secs(45 * 60)).await;
    let Some(gate) = world.gate() else {
        world.blame("the gate does not run at the end".to_owned());
        return;
    };
    world.check_ledger(true);
    let connections = world.open_connections();
    if connections > 0 {
        world.blame(format!("{connections} connections are still served"));
    }
    if gate.spool.used_bytes() > 0 {
        world.blame(format!("the spool holds {} octets", gate.spool.used_bytes()));
    }
    let day = Limit { window: Span::from_secs(86_400), max: u32::MAX };
    for scope in [Scope::Tenant, Scope::Account, Scope::ClientIp, Scope::Peer] {
        for key in gate.ledger.keys(scope, Whose::All, None, 1_000).await.unwrap() {
            check_key(world, &*gate.ledger, &key, day).await;
        }
    }
}

async fn check_key(world: &World, ledger: &dyn Ledger, key: &Key, day: Limit) {
    let now = world.gate().unwrap().clock.now();
    let usage = ledger.usage(key, &[day], now).await.unwrap()[0].clone();
    if usage.open > 0 {
        world.blame(format!("{key}: {} charges are still open", usage.open));
    }
    let parts = key.parts();
    let class = match (parts.scope, parts.unit) {
        (Scope::Tenant, Unit::Recipients) => "tenant",
        (Scope::Account, Unit::Recipients) => "account",
        (Scope::Account, Unit::NullSender) => "null-sender",
        (Scope::Account, Unit::Messages) => "account-messages",
        (Scope::Peer, Unit::Recipients) => "peer",
        _ => return,
    };
    let told = world.told(class, parts.name, now - day.window.length());
    let undisturbed = world.with_book(|book| book.tally.crashes == 0);
    let is_told = ["tenant", "account", "null-sender"].contains(&class);
    if is_told && (usage.sent < told || undisturbed && usage.sent > told) {
        world.blame(format!("{key}: {} counted, but the events say {told}", usage.sent));
    }
    // Counted by the next hops, who know nothing of ledger time: a little less than a day, to be on the safe side.
    let since = world.now() - 86_400_000 + 3_600_000;
    let taken = world.with_book(|book| book.taken_since(class, parts.name, since));
    if usage.sent < taken {
        world.blame(format!("{key}: {} counted, but {taken} were taken", usage.sent));
    }
}

const TRACE_LINES_SHOWN: usize = 150;
