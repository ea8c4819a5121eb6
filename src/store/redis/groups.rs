//! A reservation whose windows are in several slots of a Redis Cluster: they are asked one after another, each for what those
//! before it granted, and what a later one refuses is given back in the earlier ones. On a single server there is one group, and
//! one call.
//!
//! What cannot be given back at once stays charged until it can, so nobody is granted too much. Which change of records is the
//! last is asked in the same round as the first group, because it is in a slot of its own: a change that was made before the
//! recipients came is seen.

use super::{Name, Shared, calls::Ask, ends::End, servers::At};
use crate::{
    event::LimitHit,
    store::{
        StoreError,
        ledger::{Demand, Granted, Observed, Request, Reservation},
        records::Revision,
    },
    types::Timestamp,
};
use smallvec::SmallVec;

/// Demands on windows of one slot.
struct Group<'a> {
    at: At,
    demands: SmallVec<[&'a Demand; 4]>,
}

impl Group<'_> {
    fn owned(&self) -> Vec<Demand> {
        self.demands.iter().map(|&demand| demand.clone()).collect()
    }
}

impl Shared {
    fn groups<'a>(&self, demands: &'a [Demand]) -> SmallVec<[Group<'a>; 1]> {
        let mut groups = SmallVec::<[Group<'a>; 1]>::new();
        for demand in demands {
            let at = self.at(&demand.key);
            match groups.iter_mut().find(|group| group.at == at) {
                Some(group) => group.demands.push(demand),
                None => groups.push(Group { at, demands: SmallVec::from_slice(&[demand]) }),
            }
        }
        groups
    }

    /// The parts of an end, each in one slot.
    pub(super) fn parts(&self, end: &End) -> SmallVec<[(At, End); 1]> {
        let groups = self.groups(&end.demands);
        let part = |group: &Group<'_>| (group.at.clone(), end.clone().in_windows(group.owned()));
        groups.iter().map(part).collect()
    }

    /// Adds recipients to a reservation in all of its windows.
    pub(super) async fn reserve_in_groups(
        &self,
        reservation: &Reservation,
        (request, name): (&Request, Name),
        now: Timestamp,
    ) -> Result<Granted, StoreError> {
        let had = reservation.recipients;
        if had > 0 && self.ends.waits_for(name) {
            // It would be taken for an end of what is granted now.
            let why = "what is given back of the message is not known in Redis yet";
            return Err(StoreError::Unavailable(why.into()));
        }
        let groups = self.groups(&reservation.demands);
        // Of later recipients of a message nothing is compared: it began before the records changed.
        let follows = reservation.follows.filter(|_| had == 0);
        let (there, apart) =
            if self.servers.is_cluster() { (None, follows) } else { (follows, None) };
        let mut parts = SmallVec::<[Granted; 2]>::new();
        let mut most = request.recipients;
        for (place, group) in groups.iter().enumerate() {
            let demands = &group.demands;
            let ask = Ask { shared: self, demands, request, most, had, follows: there, name, now };
            let asked = self.ask(&group.at, &ask);
            let answer = match apart.filter(|_| place == 0) {
                None => asked.await,
                Some(revision) => {
                    let (asked, known) = tokio::join!(asked, self.check_head(revision));
                    parts.extend(asked.as_ref().ok().filter(|_| known.is_err()).cloned());
                    asked.and_then(|granted| known.map(|()| granted))
                }
            };
            match answer {
                Ok(granted) => {
                    most = granted.recipients;
                    parts.push(granted);
                }
                // Whatever of it was granted, this name is given back as a whole, or at its end.
                Err(error @ StoreError::Unavailable(_)) => return Err(error),
                Err(error) => {
                    self.take_back(&groups, &parts, (name, had, had), now).await?;
                    return Err(error);
                }
            }
        }
        let more = parts.iter().map(|part| part.recipients).max().unwrap_or(0);
        if more > most {
            // What cannot be told now is told later, and stays charged until then.
            let _kept = self.take_back(&groups, &parts, (name, had + most, had), now).await;
        }
        Ok(merge(&parts, most))
    }

    /// Leaves so many recipients in those groups that have granted more than that.
    async fn take_back(
        &self,
        groups: &[Group<'_>],
        parts: &[Granted],
        (name, stays, had): (Name, u32, u32),
        now: Timestamp,
    ) -> Result<(), StoreError> {
        let mut outcome = Ok(());
        for (group, part) in groups.iter().zip(parts) {
            if had + part.recipients > stays {
                let end = End::release(name, stays).in_windows(group.owned());
                outcome = outcome.and(self.end_in(&group.at, end, now).await.map(|_| ()));
            }
        }
        outcome
    }

    async fn ask(&self, at: &At, ask: &Ask<'_>) -> Result<Granted, StoreError> {
        let answer = self.call(at, async |connection| ask.send(connection).await).await?;
        answer.granted(ask.demands, ask.now)
    }

    /// Fails if this is not the last change of records.
    async fn check_head(&self, revision: Revision) -> Result<(), StoreError> {
        let head = self.call(&self.records_at, async |connection| {
            let mut call = redis::cmd("GET");
            call.arg(&self.records_head).query_async::<Option<String>>(connection).await
        });
        let is_last = head.await?.is_some_and(|head| head == revision.to_string());
        if is_last { Ok(()) } else { Err(StoreError::Outdated) }
    }
}

/// What groups answered, of which the last has granted so many, as if they were one: the first hit that opens last counts.
fn merge(parts: &[Granted], most: u32) -> Granted {
    if let [only] = parts {
        return only.clone();
    }
    let hits = parts.iter().filter(|part| part.recipients == most);
    let hit = latest(hits.filter_map(|part| part.hit.as_ref()));
    let fits = |part: &Granted| {
        part.recipients - part.observed.as_ref().map_or(0, |observed| observed.recipients)
    };
    let fit = parts.iter().map(fits).min().unwrap_or(0);
    let observed = latest(
        parts
            .iter()
            .filter(|part| fits(part) == fit)
            .filter_map(|part| part.observed.as_ref().map(|observed| &observed.hit)),
    );
    let observed = observed
        .filter(|_| fit < most)
        .map(|hit| Observed { recipients: most - fit, hit: hit.clone() });
    Granted { recipients: most, hit: hit.cloned(), observed }
}

/// The one that opens last, never being later than any time; of equals the first.
fn latest<'a>(hits: impl Iterator<Item = &'a LimitHit>) -> Option<&'a LimitHit> {
    let opens = |hit: &LimitHit| (hit.next_slot.is_none(), hit.next_slot);
    hits.reduce(|last, hit| if opens(hit) > opens(last) { hit } else { last })
}
