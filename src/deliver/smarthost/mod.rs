//! Handing mail on to one of several servers: which one, when it is left alone, what all of them offer.

mod breaker;
mod connection;
mod pool;
mod route;
mod transaction;

pub(super) use transaction::SmarthostTransaction;

use super::{DeliverError, HopHealth, HopState, SmarthostSettings, Steering};
use crate::{
    clock::{self, Clock},
    event::{Event, Events, NextHopState},
    net::connect::Network,
    rules::egress::Use,
    smtp::{BodyType, Extensions, MailRequest},
};
use breaker::Change;
use connection::Failure;
use parking_lot::Mutex;
use pool::{Host, Lease, Patience};
use route::{Random, Rank};
use std::{future::Future, sync::Arc, time::Duration};
use tokio::task::JoinSet;

/// Several servers that do the same. Cheap to clone.
#[derive(Clone)]
pub(super) struct Smarthost(Arc<House>);

/// What all transactions share.
struct House {
    settings: SmarthostSettings,
    hosts: Vec<Arc<Host>>,
    ranks: Vec<Rank>,
    random: Random,
    clock: Clock,
    events: Events,
    steering: Steering,
    duty: Mutex<Duty>,
}

/// Whether mail goes this way, or others took over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Duty {
    InForce,
    Retired,
}

/// Why there is no connection.
#[derive(Debug, Clone, PartialEq, Eq)]
enum NoHop {
    /// All are in use.
    Busy,
    /// None answers, or all are left alone; the last failure.
    Unreachable(String),
    /// The addresses that mail would leave by are paused; why.
    Paused(Arc<str>),
    /// None offers what the message needs.
    Missing(&'static str),
}

impl Smarthost {
    pub(super) fn new(
        settings: SmarthostSettings,
        network: &Network,
        clock: Clock,
        events: Events,
        steering: Steering,
    ) -> Result<Self, DeliverError> {
        let seed = network.random().map_err(|error| DeliverError::Random(error.to_string()))?;
        let host = |host: &super::HostSettings| {
            Host::new(host.clone(), &settings, network.clone()).map(Arc::new)
        };
        let hosts = settings.hosts.iter().map(host).collect::<Result<Vec<_>, _>>()?;
        if hosts.is_empty() {
            return Err(DeliverError::NoHost);
        }
        let rank = |host: &Arc<Host>| Rank {
            priority: host.settings.priority,
            weight: host.settings.weight,
        };
        let ranks = hosts.iter().map(rank).collect();
        let random = Random::new(seed);
        let duty = Mutex::new(Duty::InForce);
        let house = House { settings, hosts, ranks, random, clock, events, steering, duty };
        Ok(Self(Arc::new(house)))
    }

    pub(super) fn begin(&self, mail: MailRequest) -> SmarthostTransaction {
        SmarthostTransaction::new(Arc::clone(&self.0), mail)
    }

    /// Hosts that are down do not count while another is up; one that was never seen offers only what is ours to give.
    pub(super) fn offers(&self) -> Extensions {
        // A host that was never seen has no say: a mail that it cannot take goes to another.
        let seen = self.0.hosts.iter().filter_map(|host| host.offers());
        let common = seen.reduce(|one, other| common(&one, &other)).unwrap_or_default();
        // Our Received field goes on top of what the client sends; 0 would say that there is no maximum.
        let size = common.size.flatten().map(|size| size.saturating_sub(HEAD_BYTES_MAX).max(1));
        Extensions {
            pipelining: true,
            size: Some(size),
            eight_bit_mime: common.eight_bit_mime,
            smtputf8: common.smtputf8,
            enhanced_status_codes: true,
            dsn: common.dsn,
            starttls: false,
            auth: Vec::new(),
        }
    }

    pub(super) fn health(&self) -> Vec<HopHealth> {
        let plan = self.0.steering.load();
        self.0.hosts.iter().map(|host| host.health(&plan)).collect()
    }

    pub(super) fn retire(&self) {
        let house = &self.0;
        let mut duty = house.duty.lock();
        if *duty == Duty::Retired {
            return;
        }
        *duty = Duty::Retired;
        for hop in self.health().into_iter().filter(|hop| hop.state == HopState::Down) {
            let (next_hop, detail) = (hop.name, String::from("it is not used any more"));
            let event = Event::NextHopUp(NextHopState { next_hop, detail });
            house.events.tell(house.clock.now(), &event);
        }
    }

    pub(super) async fn run_probes(self, shutdown: impl Future<Output = ()> + Send) {
        let mut watches = JoinSet::new();
        for host in &self.0.hosts {
            watches.spawn(Arc::clone(&self.0).watch(Arc::clone(host)));
        }
        // Dropping the set ends the watches.
        shutdown.await;
    }
}

impl House {
    /// Looks after one host for ever.
    async fn watch(self: Arc<Self>, host: Arc<Host>) {
        let settings = &self.settings;
        let shortest = settings.idle_max.min(settings.breaker_wait).min(settings.probe_every);
        let tick = (shortest / 4).clamp(WATCH_TICK_MIN, WATCH_TICK_MAX);
        loop {
            host.reap();
            if host.is_due(settings.probe_every) {
                self.probe(&host).await;
            }
            tokio::time::sleep(tick).await;
        }
    }

    /// A host whose connections are all in use is alive; there is no need to ask.
    async fn probe(&self, host: &Arc<Host>) {
        let Some(slot) = host.slot(Patience::None).await else { return };
        match host.probe(slot, &self.settings).await {
            Ok(lease) => {
                self.tell(host, host.note_opened(&lease.connection));
                lease.give_back();
            }
            Err(failure) => self.note_failure(host, &failure),
        }
    }

    /// A connection to the best host that has one and fits; `avoid` comes last.
    async fn acquire(&self, needs: Needs, avoid: Option<&Arc<Host>>) -> Result<Lease, NoHop> {
        let Ways { groups, paused } = self.route(avoid);
        let mut reason = paused.map(NoHop::Paused);
        for group in groups {
            let mut busy = None;
            for host in &group {
                match self.try_host(host, needs, Patience::None).await {
                    Ok(lease) => return Ok(lease),
                    Err(NoHop::Busy) => busy = busy.or(Some(host)),
                    Err(other) => reason = Some(weightier(reason, other)),
                }
            }
            let Some(host) = busy else { continue };
            let patience = Patience::Until(self.settings.timeout_connect);
            match self.try_host(host, needs, patience).await {
                Ok(lease) => return Ok(lease),
                Err(other) => reason = Some(weightier(reason, other)),
            }
        }
        Err(reason.unwrap_or(NoHop::Busy))
    }

    /// The hosts in the order in which they are tried: free ways, drained ones, and `avoid` last.
    fn route(&self, avoid: Option<&Arc<Host>>) -> Ways<'_> {
        let plan = self.steering.load();
        let (mut free, mut drained, mut last, mut paused) = (vec![], vec![], vec![], None);
        for group in route::order(&self.ranks, &self.random) {
            let (mut open, mut spare) = (vec![], vec![]);
            for host in group.into_iter().map(|index| &self.hosts[index]) {
                match plan.of(&host.settings.egress) {
                    Use::Paused(why) => paused = paused.or(Some(why)),
                    _ if avoid.is_some_and(|avoid| Arc::ptr_eq(host, avoid)) => last.push(host),
                    Use::Drained(_) => spare.push(host),
                    Use::Free => open.push(host),
                }
            }
            free.push(open);
            drained.push(spare);
        }
        let groups = free.into_iter().chain(drained).chain([last]);
        Ways { groups: groups.filter(|group| !group.is_empty()).collect(), paused }
    }

    /// True if mail may not leave by this host's addresses.
    fn is_paused(&self, host: &Host) -> bool {
        matches!(self.steering.load().of(&host.settings.egress), Use::Paused(_))
    }

    async fn try_host(
        &self,
        host: &Arc<Host>,
        needs: Needs,
        patience: Patience,
    ) -> Result<Lease, NoHop> {
        if host.lacks(|offers| needs.missing(offers).is_none()) {
            let offers = host.offers().unwrap_or_default();
            return Err(NoHop::Missing(needs.missing(&offers).unwrap_or("an extension")));
        }
        let slot = host.slot(patience).await.ok_or(NoHop::Busy)?;
        if !host.admits(clock::steady_now()) {
            let error = host.last_error().unwrap_or_default();
            return Err(NoHop::Unreachable(format!("{} is left alone: {error}", host.name)));
        }
        match host.lease(slot, &self.settings).await {
            Ok(lease) => self.check_lease(lease, needs),
            Err(failure) => {
                self.note_failure(host, &failure);
                Err(NoHop::Unreachable(format!("{}: {failure}", host.name)))
            }
        }
    }

    fn check_lease(&self, lease: Lease, needs: Needs) -> Result<Lease, NoHop> {
        if lease.origin == pool::Origin::Fresh {
            self.tell(&lease.host, lease.host.note_opened(&lease.connection));
        }
        match needs.missing(&lease.connection.extensions) {
            None => Ok(lease),
            Some(missing) => {
                lease.give_back();
                Err(NoHop::Missing(missing))
            }
        }
    }

    fn note_failure(&self, host: &Arc<Host>, failure: &Failure) {
        self.tell(host, host.note_failure(failure, self.random.next()));
    }

    fn tell(&self, host: &Arc<Host>, change: Change) {
        let next_hop = Arc::clone(&host.name);
        let event = match change {
            Change::None => return,
            Change::Opened => {
                let detail = host.last_error().unwrap_or_default();
                Event::NextHopDown(NextHopState { next_hop, detail })
            }
            Change::Closed => {
                let detail = String::from("it answers again");
                Event::NextHopUp(NextHopState { next_hop, detail })
            }
        };
        // Held while it is told, so that nothing is told of a hop after that it is gone.
        let duty = self.duty.lock();
        if *duty == Duty::InForce {
            self.events.tell(self.clock.now(), &event);
        }
    }
}

/// Which hosts are tried, in groups that share the mail.
struct Ways<'a> {
    groups: Vec<Vec<&'a Arc<Host>>>,
    /// Why one of the others may not be.
    paused: Option<Arc<str>>,
}

/// The reason to report: that all are busy tells more than that one is down, and a missing extension counts only if
/// every host lacks it, because one that is down may have it. That a way is paused is told only where there is no other.
fn weightier(one: Option<NoHop>, other: NoHop) -> NoHop {
    match (one, other) {
        (Some(NoHop::Busy), _) | (_, NoHop::Busy) => NoHop::Busy,
        (Some(NoHop::Paused(_)), other) => other,
        (Some(NoHop::Unreachable(_)), other @ NoHop::Unreachable(_)) => other,
        (Some(one @ NoHop::Unreachable(_)), _) => one,
        (_, other) => other,
    }
}

fn common(one: &Extensions, other: &Extensions) -> Extensions {
    let smaller = match (one.size.flatten(), other.size.flatten()) {
        (Some(one), Some(other)) => Some(one.min(other)),
        (one, other) => one.or(other),
    };
    Extensions {
        size: Some(smaller),
        eight_bit_mime: one.eight_bit_mime && other.eight_bit_mime,
        smtputf8: one.smtputf8 && other.smtputf8,
        dsn: one.dsn && other.dsn,
        ..Extensions::default()
    }
}

/// What a message needs of a hop. Without DSN its parameters are left out (RFC 3461 §5.2.2), so it is not needed.
#[derive(Debug, Clone, Copy)]
struct Needs {
    eight_bit: Need,
    utf8: Need,
    size_bytes: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Need {
    No,
    Yes,
}

impl Needs {
    fn of(mail: &MailRequest) -> Self {
        let need = |wanted| if wanted { Need::Yes } else { Need::No };
        Self {
            eight_bit: need(mail.body == Some(BodyType::EightBitMime)),
            utf8: need(mail.smtputf8),
            size_bytes: mail.size.unwrap_or(0),
        }
    }

    /// The first extension that is missing (RFC 6152 §3, RFC 6531 §3.2, RFC 1870 §6).
    fn missing(self, hop: &Extensions) -> Option<&'static str> {
        let room = hop.size.flatten().unwrap_or(u64::MAX);
        match self {
            Self { eight_bit: Need::Yes, .. } if !hop.eight_bit_mime => Some("8BITMIME"),
            Self { utf8: Need::Yes, .. } if !hop.smtputf8 => Some("SMTPUTF8"),
            Self { size_bytes, .. } if size_bytes > room => Some("SIZE"),
            _ => None,
        }
    }
}

/// How often a host is looked after, within these bounds.
const WATCH_TICK_MIN: Duration = Duration::from_millis(10);
const WATCH_TICK_MAX: Duration = Duration::from_secs(1);

/// Room for the fields that we put on top of a text.
const HEAD_BYTES_MAX: u64 = 1024;
