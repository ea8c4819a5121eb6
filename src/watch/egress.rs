//! What follows when an address that mail leaves by is on a blocklist: mail takes other ways or waits, and whoever caused it is
//! looked for.
//!
//! What is listed comes from `watch::blocklist`, what follows is decided by `rules::egress`. Each listing is looked into once, also
//! across a restart: the event that tells of it says so.

use crate::{
    admin::EgressChoices,
    clock::Clock,
    deliver::Steering,
    event::{EgressSteered, Event, Events, ListingCause, ListingSuspect},
    rules::{
        blocklist::{Listing, Listings},
        egress::{
            self, Choice, Plan, Policy as EgressPolicy,
            blame::{self, Sender, Suspect},
        },
        judgement::Settings,
        limits::Mode,
        policy::{Assigned, Policy},
        spam::Evidence,
        tally::calendar::Hour,
    },
    standing::{self, Reach, Standings},
    store::{
        StoreError,
        archive::{Archive, EgressUsage, EventFilter, Order},
        records::Task,
    },
    types::{AccountId, Span, SubjectId, TenantId, Timestamp},
};
use arc_swap::ArcSwap;
use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
    sync::Arc,
    time::Duration,
};

/// What follows from listings, and for which addresses.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reaction {
    /// What follows.
    pub policy: EgressPolicy,
    /// The addresses that next hops stand for.
    pub egress: Vec<IpAddr>,
    /// How long before a listing its cause is looked for.
    pub window: Span,
}

/// The task.
pub struct Egress<F> {
    /// What is listed now.
    pub listings: Arc<ArcSwap<Listings>>,
    /// What follows from that.
    pub reaction: Arc<ArcSwap<Reaction>>,
    /// What people decided.
    pub choices: EgressChoices,
    /// Which ways mail takes.
    pub steering: Steering,
    /// Who sent by which address.
    pub archive: Archive,
    /// Where likely causes are judged.
    pub standings: Standings,
    /// What they are judged by.
    pub settings: F,
    /// Whose plan is only observed.
    pub policy: Arc<ArcSwap<Policy>>,
    /// The time.
    pub clock: Clock,
    /// Who is told.
    pub events: Events,
}

/// Listings that were looked into.
pub struct Known(BTreeSet<Matter>);

/// A listing: the address, the list, and since when.
type Matter = (IpAddr, Arc<str>, Timestamp);

impl<F: Fn() -> Settings + Send + Sync> Egress<F> {
    /// Goes on with what people decided and what was listed, so that this holds from the first message on. Returns which listings
    /// were looked into before.
    ///
    /// # Errors
    /// [`StoreError`] if that cannot be read.
    pub async fn resume(&self) -> Result<Known, StoreError> {
        let choices = self.archive.egress_choices().await?;
        let choices = choices.into_iter().map(|choice| (choice.address, choice));
        self.choices.store(Arc::new(choices.collect()));
        let known = self.told().await?;
        self.steer();
        Ok(Known(known))
    }

    /// The listings whose likely cause was told.
    async fn told(&self) -> Result<BTreeSet<Matter>, StoreError> {
        let names = vec![String::from("listing-cause")];
        let (order, max) = (Order::Newest, MATTERS_MAX);
        let told = self.archive.events(EventFilter { names, order, max, ..EventFilter::default() });
        Ok(told.await?.iter().filter_map(|row| matter(&row.body)).collect())
    }

    async fn leads(&self) -> Result<bool, StoreError> {
        self.standings.records.leads(Task::AskBlocklists).await
    }

    /// Looks for ever.
    pub async fn run(self, Known(mut known): Known) {
        let mut is_failing = false;
        loop {
            self.steer();
            let looked = self.look(&mut known).await;
            if let (Err(error), false) = (&looked, is_failing) {
                tracing::error!(%error, "the cause of a listing cannot be looked for");
            }
            is_failing = looked.is_err();
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }

    /// Makes the plan anew and tells what changed.
    fn steer(&self) {
        let (reaction, listings) = (self.reaction.load(), self.listings.load());
        let choices = self.choices.load();
        let chosen: BTreeMap<IpAddr, Choice> =
            choices.iter().map(|(address, choice)| (*address, choice.choice)).collect();
        let plan = egress::steer(&reaction.egress, &listings, &reaction.policy, &chosen);
        let before = self.steering.load();
        if **before == plan {
            return;
        }
        for changed in changes(&before, &plan) {
            self.events.tell(self.clock.now(), &Event::EgressSteered(Box::new(changed)));
        }
        self.steering.store(Arc::new(plan));
    }

    /// Looks into what is new on a list, and forgets what was decided about listings that are over.
    async fn look(&self, known: &mut BTreeSet<Matter>) -> Result<(), StoreError> {
        let (reaction, listings) = (self.reaction.load_full(), self.listings.load_full());
        for (address, choice) in self.choices.load().iter() {
            if choice.choice == Choice::Resume && listings.of(*address).is_empty() {
                self.archive.forget_egress_choice(*address).await?;
                self.choices.rcu(|choices| {
                    let mut fewer = BTreeMap::clone(choices);
                    fewer.remove(address);
                    fewer
                });
            }
        }
        for &address in &reaction.egress {
            let grave = |listing: &&Listing| listing.severity >= reaction.policy.severity_min;
            for listing in listings.of(address).iter().filter(grave) {
                let matter = (address, listing.list.clone(), listing.since);
                if known.contains(&matter) || !self.leads().await? {
                    continue;
                }
                if self.archive.is_shared() {
                    // Another node may have done so before this one leads.
                    known.extend(self.told().await?);
                }
                if known.insert(matter.clone()) {
                    let blamed = self.blame(address, listing, reaction.window).await;
                    if blamed.is_err() {
                        known.remove(&matter);
                    }
                    blamed?;
                }
            }
        }
        // What is over cannot come back: it would begin at another time.
        known.retain(|(address, list, since)| {
            let same = |listing: &Listing| listing.list == *list && listing.since == *since;
            listings.of(*address).iter().any(same)
        });
        Ok(())
    }

    /// Tells who sent by a listed address, and lets the rules see it.
    async fn blame(
        &self,
        address: IpAddr,
        listing: &Listing,
        window: Span,
    ) -> Result<(), StoreError> {
        let first = Hour::of(listing.since - window.length());
        let usage = self.archive.egress_usage(address, first).await?;
        let accounts = usage.len() as u64;
        let mut senders = Vec::with_capacity(usage.len());
        for used in usage {
            let evidence = self.evidence(&used.account).await?;
            senders.push(sender(used, evidence));
        }
        let suspects = blame::rank(senders);
        let cause = ListingCause {
            address,
            list: listing.list.clone(),
            since: listing.since,
            window: window.length(),
            accounts,
            suspects: suspects.iter().map(told).collect(),
        };
        self.events.tell(self.clock.now(), &Event::ListingCause(Box::new(cause)));
        for suspect in suspects.iter().filter(|suspect| suspect.is_likely) {
            self.accuse(suspect).await?;
        }
        Ok(())
    }

    async fn evidence(&self, account: &AccountId) -> Result<Evidence, StoreError> {
        let mind = self.standings.behaviour.mind(account).await?;
        Ok(mind.map(|mind| mind.evidence()).unwrap_or_default())
    }

    /// Counts it against a likely cause, unless that is suspended already.
    async fn accuse(&self, suspect: &Suspect) -> Result<(), StoreError> {
        let Sender { account, tenant, .. } = &suspect.sender;
        let reach = self.reach(account, tenant).await?;
        let sender = standing::Sender { account, tenant, client: None, reach };
        self.standings.accuse(sender, suspect.blame, &(self.settings)()).await.map(drop)
    }

    /// Whether what is found acts on a sender.
    async fn reach(&self, account: &AccountId, tenant: &TenantId) -> Result<Reach, StoreError> {
        if account.is_peer() {
            return Ok(Reach::Spared);
        }
        let records = &self.standings.records;
        let own = records.subject(&SubjectId::Account(account.clone())).await?;
        let shared = records.subject(&SubjectId::Tenant(tenant.clone())).await?;
        let assigned = |plan| Assigned { plan, overrides: &[] };
        let policy = self.policy.load();
        let plan =
            policy.plan_in_force(assigned(shared.plan.as_ref()), assigned(own.plan.as_ref()));
        Ok(if plan.mode == Mode::Enforce { Reach::Acts } else { Reach::Told })
    }
}

/// The addresses whose use is another one.
fn changes(before: &Plan, after: &Plan) -> Vec<EgressSteered> {
    let addresses: BTreeSet<IpAddr> =
        before.iter().chain(after.iter()).map(|(address, _)| address).collect();
    let change = |address: IpAddr| {
        let (was, is) = (before.of(&[address]), after.of(&[address]));
        let why = is.why().cloned();
        (was != is).then(|| EgressSteered { address, from: was.name(), to: is.name(), why })
    };
    addresses.into_iter().filter_map(change).collect()
}

fn sender(used: EgressUsage, evidence: Evidence) -> Sender {
    let EgressUsage { tenant, account, share, complaints } = used;
    Sender {
        account,
        tenant,
        messages: share.messages,
        recipients: share.recipients,
        refused: share.refused,
        spam: share.spam,
        points: share.points,
        complaints,
        evidence,
    }
}

fn told(suspect: &Suspect) -> ListingSuspect {
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "0 to 100")]
    let blame_percent = (suspect.blame * 100.0).round() as u8;
    ListingSuspect {
        account: suspect.sender.account.clone(),
        tenant: suspect.sender.tenant.clone(),
        blame_percent,
        is_likely: suspect.is_likely,
        reasons: suspect.reasons(),
    }
}

/// The listing that an event told of.
fn matter(body: &str) -> Option<Matter> {
    let event: serde_json::Value = serde_json::from_str(body).ok()?;
    let text = |key: &str| event.get(key)?.as_str();
    let (address, since) = (text("address")?.parse().ok()?, text("since")?.parse().ok()?);
    Some((address, Arc::from(text("list")?), since))
}

const LOOK_EVERY: Duration = Duration::from_secs(1);
/// The newest listings that are known from before a start to have been looked into.
const MATTERS_MAX: usize = 500;
