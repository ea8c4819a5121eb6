//! What a seed stands for: the configuration, the customers, the tempers of the next hops, and what happens when.

use super::{
    book::{Millis, Party, Rule},
    chance::Chance,
    client::{Customer, Manner, Proof},
    hop::Temper,
};
use std::{fmt::Write as _, path::Path, sync::OnceLock};
use tollgate::types::Timestamp;

/// A whole run, before it is played.
pub(crate) struct Plot {
    /// What the wall clock shows at boot.
    pub(crate) start: Timestamp,
    /// How long customers come.
    pub(crate) length: Millis,
    /// The real file, or the store without one.
    pub(crate) file: bool,
    pub(crate) disk_failing: u64,
    pub(crate) disk_slow: u64,
    pub(crate) customers: Vec<Customer>,
    pub(crate) incidents: Vec<(Millis, Incident)>,
    limits: Vec<Line>,
    hops: Vec<Hop>,
    waits: Waits,
    park_after: u64,
    connections_max: u64,
}

/// A line of the plan, or the server's own limit.
struct Line {
    class: &'static str,
    window: Millis,
    /// Before a reload and after each.
    max: Vec<(Millis, u32)>,
}

impl Line {
    fn max_at(&self, now: Millis) -> u32 {
        self.max.iter().rfind(|&&(at, _)| at <= now).unwrap_or(&self.max[0]).1
    }
}

struct Hop {
    name: String,
    /// Its temper changes now and then.
    tempers: Vec<(Millis, Temper)>,
}

/// Waits for next hops, in seconds.
struct Waits {
    connect: u64,
    command: u64,
    data: u64,
    last: u64,
    after_dot: u64,
}

/// Something that happens to the gate.
#[derive(Debug, Clone)]
pub(crate) enum Incident {
    /// Killed, and started again after so long.
    Crash(u64),
    /// Killed at the moment at which a next hop next reads a final dot, and started again after so long.
    CrashAtDot(u64),
    /// Drained, stopped, and started again after so long.
    Restart(u64),
    Reload,
    /// The wall clock is stepped by so many milliseconds.
    StepWall(i64),
    /// Suspended for so long.
    Suspend {
        name: String,
        is_tenant: bool,
        millis: u64,
    },
    /// Another figure in the place of a limit, for so long.
    Override {
        line: usize,
        name: String,
        max: Option<u32>,
        millis: u64,
    },
}

impl Plot {
    pub(crate) fn new(chance: &mut Chance) -> Self {
        let length = i64::try_from(chance.spread(30 * MINUTE, 48 * HOUR)).unwrap();
        let calm = chance.permille(150);
        let file = chance.permille(120);
        let crashes = !calm && chance.permille(if file { 900 } else { 400 });
        let mut plot = Self {
            start: "2026-11-22T09:14:07Z".parse().unwrap(),
            length,
            file,
            disk_failing: if !calm && chance.permille(200) { 30 } else { 0 },
            disk_slow: if !calm && chance.permille(300) { 3_000 } else { 0 },
            customers: Vec::new(),
            incidents: Vec::new(),
            limits: lines(chance),
            hops: Vec::new(),
            waits: waits(chance),
            park_after: chance.spread(1, 20),
            connections_max: *chance.pick(&[1, 2, 8, 100]),
        };
        plot.hops = (0..chance.within(1, 3)).map(|n| hop(chance, n, length, calm)).collect();
        plot.customers = customers(chance, length);
        if !calm {
            plot.add_incidents(chance, crashes);
        }
        plot
    }

    fn add_incidents(&mut self, chance: &mut Chance, crashes: bool) {
        let length = u64::try_from(self.length).unwrap();
        let mut incidents = Vec::new();
        for _ in 0..chance.spread(1, 8) {
            let at = Millis::try_from(chance.within(0, length)).unwrap();
            let weights = if crashes { [2, 3, 2, 1, 2, 2, 2] } else { [0, 0, 0, 1, 2, 2, 2] };
            let incident = match chance.weighted(&weights) {
                0 => Incident::Crash(chance.spread(1, 10 * MINUTE)),
                1 => Incident::CrashAtDot(chance.spread(1, 10 * MINUTE)),
                2 => Incident::Restart(chance.spread(1, 10 * MINUTE)),
                3 => self.reload(chance, at),
                4 => Incident::StepWall(step(chance)),
                5 => self.suspend(chance),
                _ => self.set_override(chance),
            };
            incidents.push((at, incident));
        }
        incidents.sort_by_key(|&(at, _)| at);
        self.incidents = incidents;
    }

    /// Another figure for some line of the plan.
    fn reload(&mut self, chance: &mut Chance, at: Millis) -> Incident {
        let line = usize::try_from(chance.within(0, self.limits.len() as u64 - 1)).unwrap();
        let line = &mut self.limits[line];
        line.max.push((at, u32::try_from(chance.spread(1, 60)).unwrap()));
        line.max.sort_by_key(|&(at, _)| at);
        Incident::Reload
    }

    fn somebody(&self, chance: &mut Chance) -> Option<Party> {
        let parties: Vec<&Party> =
            self.customers.iter().filter_map(|customer| customer.party.as_ref()).collect();
        (!parties.is_empty()).then(|| (*chance.pick(&parties)).clone())
    }

    fn suspend(&self, chance: &mut Chance) -> Incident {
        let Some(party) = self.somebody(chance) else { return Incident::Reload };
        let is_tenant = chance.permille(300);
        let name = if is_tenant { party.tenant } else { party.account };
        Incident::Suspend { name, is_tenant, millis: chance.spread(MINUTE, 3 * HOUR) }
    }

    fn set_override(&self, chance: &mut Chance) -> Incident {
        let own = |line: &&Line| ["tenant", "account"].contains(&line.class);
        let lines: Vec<usize> = self
            .limits
            .iter()
            .enumerate()
            .filter(|(_, line)| own(line))
            .map(|(at, _)| at)
            .collect();
        let line = *chance.pick(&lines);
        let Some(party) = self.somebody(chance) else { return Incident::Reload };
        let name = if self.limits[line].class == "tenant" { party.tenant } else { party.account };
        let max = (!chance.permille(200)).then(|| u32::try_from(chance.spread(1, 100)).unwrap());
        Incident::Override { line, name, max, millis: chance.spread(MINUTE, 3 * HOUR) }
    }

    /// The same limits, for the book, as the file has them at first.
    pub(crate) fn rules(&self) -> Vec<Rule> {
        self.limits.iter().map(|line| Rule::new(line.class, line.window, line.max[0].1)).collect()
    }

    /// The figure of each line as the file has it at this moment.
    pub(crate) fn figures(&self, now: Millis) -> Vec<u32> {
        self.limits.iter().map(|line| line.max_at(now)).collect()
    }

    /// Class and window of a line, for an override.
    pub(crate) fn place(&self, line: usize) -> (&'static str, Millis) {
        (self.limits[line].class, self.limits[line].window)
    }

    /// How long the gate waits for a next hop after the client's final dot, at the least.
    pub(crate) fn patience(&self) -> Millis {
        let shortest = self.waits.last.min(self.waits.after_dot);
        Millis::try_from(shortest).unwrap() * 1000
    }

    pub(crate) fn temper_of(&self, host: &str, now: Millis) -> Temper {
        let hop = self.hops.iter().find(|hop| hop.name == host);
        let tempers = hop.map_or(&[][..], |hop| &hop.tempers);
        tempers.iter().rfind(|&&(at, _)| at <= now).map_or(Temper::GOOD, |&(_, temper)| temper)
    }

    /// The configuration as it stands in the file at this moment.
    pub(crate) fn config(&self, folder: &Path, now: Millis) -> String {
        let mut plan = String::new();
        let (mut null, mut peer) = (String::new(), String::new());
        for line in &self.limits {
            let max = line.max_at(now);
            let figures = format!("max = {max}, window = \"{}s\"", line.window / 1000);
            let _infallible = match line.class {
                "null-sender" => write!(null, "null_sender = {{ {figures} }}"),
                "peer" => write!(peer, "{{ {figures} }}"),
                "client" => writeln!(plan, "{{ scope = \"client-ip\", {figures} }},"),
                "account-messages" => {
                    writeln!(plan, "{{ scope = \"account\", unit = \"messages\", {figures} }},")
                }
                scope => writeln!(plan, "{{ scope = \"{scope}\", {figures} }},"),
            };
        }
        let mut hosts = String::new();
        for (number, hop) in self.hops.iter().enumerate() {
            let _infallible = writeln!(
                hosts,
                "[[next_hop.hosts]]\nhost = \"{}:25\"\ntls = \"none\"\npriority = {}\nconnections_max = {}",
                hop.name,
                10 + number / 2,
                self.connections_max
            );
        }
        let Waits { connect, command, data, last, after_dot } = self.waits;
        let park_after = self.park_after;
        let folder = folder.display();
        format!(
            r#"
[server]
hostname = "gate.example"
state_dir = "{folder}"
[http]
listen = "none"
[api]
listen = "none"
[auth]
passwd_file = "{folder}/users"
cache_ttl = "1h"
[session]
park_after = "{park_after}s"
[limits]
default_plan = "standard"
new_accounts_per_hour = 10000
[plan.standard]
limits = [
{plan}]
{null}
[store]
synchronous = "normal"
[[listener]]
name = "smarthost"
kind = "smarthost"
address = "127.0.0.1:2525"
[[listener]]
name = "proxied"
kind = "smarthost"
address = "127.0.0.1:2526"
proxy_protocol = true
[[listener]]
name = "submission"
kind = "submission"
address = "127.0.0.1:1587"
plaintext_auth = true
[[trust]]
name = "relay"
networks = ["198.51.100.0/24"]
relay = true
own_server = false
limits = [{peer}]
[[trust]]
name = "web"
networks = ["192.0.2.10"]
relay = true
identity_headers = ["x-auth-user"]
[[trust]]
name = "front"
networks = ["192.0.2.20"]
xclient = true
[[trust]]
name = "balancer"
networks = ["192.0.2.30"]
proxy = true
[next_hop]
kind = "smarthost"
timeout_connect = "{connect}s"
timeout_command = "{command}s"
timeout_data = "{data}s"
timeout_final = "{last}s"
timeout_after_dot = "{after_dot}s"
{hosts}
"#
        )
    }

    /// The passwd-file: every customer has the same password, with the cheapest hash.
    pub(crate) fn users(&self) -> String {
        static HASH: OnceLock<String> = OnceLock::new();
        let hash = HASH.get_or_init(|| {
            let hash = bcrypt::hash(super::client::PASSWORD, 4).unwrap();
            format!("{{BLF-CRYPT}}{hash}")
        });
        (0..TENANTS)
            .flat_map(|tenant| (0..ACCOUNTS).map(move |account| name_of(account, tenant)))
            .chain([PATIENT.to_owned()])
            .map(|account| format!("{account}:{hash}\n"))
            .collect()
    }
}

fn lines(chance: &mut Chance) -> Vec<Line> {
    let mut lines = Vec::new();
    let mut add = |class, window: u64, max: u64| {
        let (window, max) = (Millis::try_from(window).unwrap(), u32::try_from(max).unwrap());
        lines.push(Line { class, window, max: vec![(Millis::MIN, max)] });
    };
    let short = *chance.pick(&[MINUTE, 10 * MINUTE, HOUR]);
    let long = *chance.pick(&[2 * HOUR, 24 * HOUR]);
    add("tenant", short, chance.spread(3, 40));
    add("tenant", long, chance.spread(10, 200));
    add("account", short, chance.spread(2, 20));
    add("account", long, chance.spread(10, 100));
    add("null-sender", short, chance.spread(1, 10));
    add("peer", short, chance.spread(2, 40));
    if chance.permille(500) {
        add("client", short, chance.spread(2, 40));
    }
    if chance.permille(300) {
        add("account-messages", short, chance.spread(1, 10));
    }
    lines
}

fn waits(chance: &mut Chance) -> Waits {
    if chance.permille(500) {
        return Waits { connect: 30, command: 60, data: 180, last: 300, after_dot: 510 };
    }
    let last = chance.spread(2, 60);
    Waits {
        connect: chance.spread(1, 10),
        command: chance.spread(1, 20),
        data: chance.spread(1, 20),
        last,
        after_dot: chance.within(last, 3 * last),
    }
}

fn hop(chance: &mut Chance, number: u64, length: Millis, calm: bool) -> Hop {
    let mut tempers = vec![(0, temper(chance, calm))];
    for _ in 0..chance.within(0, 3) {
        let at = chance.within(1, u64::try_from(length).unwrap());
        tempers.push((Millis::try_from(at).unwrap(), temper(chance, calm)));
    }
    tempers.sort_by_key(|&(at, _)| at);
    Hop { name: format!("hop{number}.example"), tempers }
}

fn temper(chance: &mut Chance, calm: bool) -> Temper {
    if calm || chance.permille(300) {
        return Temper { slow: chance.spread(1, 2_000), ..Temper::GOOD };
    }
    let mut sometimes = |most: u64| if chance.permille(500) { 0 } else { chance.spread(1, most) };
    Temper {
        unreachable: sometimes(500),
        unwelcoming: sometimes(300),
        refusing: sometimes(300),
        dying: sometimes(100),
        stalling: sometimes(30),
        vanishing: sometimes(300),
        poor: sometimes(300),
        slow: sometimes(30_000).max(1),
        idle: sometimes(600_000).max(10_000),
    }
}

fn step(chance: &mut Chance) -> i64 {
    let far = i64::try_from(chance.spread(2_000, 365 * 24 * HOUR)).unwrap();
    if chance.permille(500) { far } else { -far }
}

fn name_of(account: u64, tenant: u64) -> String {
    format!("a{account}@t{tenant}.example")
}

fn customers(chance: &mut Chance, length: Millis) -> Vec<Customer> {
    let count = chance.spread(2, 12);
    let length = u64::try_from(length).unwrap();
    // So that a run has about as much traffic, however long it is.
    let sessions = chance.spread(2, 14);
    let pause = (2 * length * count / sessions).max(1_000);
    let mut customers: Vec<Customer> =
        (0..count).map(|number| customer(chance, number, pause)).collect();
    if chance.permille(500) {
        customers.push(patient(chance, pause));
    }
    customers
}

fn patient(chance: &mut Chance, pause: u64) -> Customer {
    let party = Party {
        account: PATIENT.to_owned(),
        tenant: "patient.example".to_owned(),
        client: Some("203.0.113.77".to_owned()),
        peer: None,
        null_sender: false,
    };
    Customer {
        name: "patient".to_owned(),
        door: "submission",
        remote: "203.0.113.77:4711".parse().unwrap(),
        proof: Proof::Login,
        party: Some(party),
        manner: Manner::Patient,
        pause: pause / 2 + 1,
        recipients: chance.spread(1, 10),
    }
}

fn customer(chance: &mut Chance, number: u64, pause: u64) -> Customer {
    let tenant = chance.within(0, TENANTS - 1);
    let account = name_of(chance.within(0, ACCOUNTS - 1), tenant);
    let mut party = Party {
        account,
        tenant: format!("t{tenant}.example"),
        client: None,
        peer: None,
        null_sender: false,
    };
    let house = chance.within(1, 3);
    let elsewhere = if chance.permille(300) {
        (format!("[2001:db8:1:{house}::{number:x}]:4711"), format!("2001:db8:1:{house}::/64"))
    } else {
        (format!("203.0.113.{house}:4711"), format!("203.0.113.{house}"))
    };
    let (door, remote, proof, known) = match chance.weighted(&[5, 2, 3, 3, 2, 1]) {
        0 => {
            party.client = Some(elsewhere.1);
            party.null_sender = chance.permille(100);
            ("submission", elsewhere.0, Proof::Login, true)
        }
        1 => {
            party.client = Some(elsewhere.1.clone());
            let address =
                elsewhere.1.strip_suffix("::/64").map(|v6| format!("IPV6:{v6}::{number:x}"));
            let said = address.unwrap_or(elsewhere.1);
            ("smarthost", "192.0.2.20:4711".to_owned(), Proof::Xclient(said), true)
        }
        2 => ("smarthost", "192.0.2.10:4711".to_owned(), Proof::Header, true),
        3 => {
            party.client = Some(format!("198.51.100.{house}"));
            party.peer = Some("relay".to_owned());
            ("smarthost", format!("198.51.100.{house}:4711"), Proof::Address, true)
        }
        4 => {
            let source = format!("198.51.100.{house}");
            party.client = Some(source.clone());
            party.peer = Some("relay".to_owned());
            ("proxied", "192.0.2.30:4711".to_owned(), Proof::Proxy(source), true)
        }
        _ => ("smarthost", elsewhere.0, Proof::Address, false),
    };
    let manner = [Manner::Honest, Manner::Hasty, Manner::Slow, Manner::Rude];
    Customer {
        name: format!("c{number}"),
        door,
        remote: remote.parse().unwrap(),
        proof,
        party: known.then_some(party),
        manner: manner[chance.weighted(&[4, 3, 2, 4])],
        pause: chance.spread(pause / 4 + 1, pause),
        recipients: chance.spread(1, 30),
    }
}

const PATIENT: &str = "alone@patient.example";
const MINUTE: u64 = 60_000;
const HOUR: u64 = 60 * MINUTE;
const TENANTS: u64 = 3;
const ACCOUNTS: u64 = 3;
