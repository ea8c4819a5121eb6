//! What is remembered of how senders behave: in memory while it is used, written down soon after it changed.
//!
//! Losing it loses no charge and lifts no suspension: an account begins as a stranger, and those are judged by less. After a crash the last
//! seconds are missing. Whoever sends nothing for an hour leaves the memory and comes back from the file at its next message.

use super::{BoxFuture, StoreError, archive::Archive};
use crate::{
    rules::{
        judgement::{Common, Memory, Mind},
        spam,
        suspension::{Conduct, Group},
    },
    types::{AccountId, IpPrefix, TenantId, Timestamp},
};
use dashmap::{DashMap, DashSet};
use parking_lot::Mutex;
use std::{collections::HashMap, sync::Arc, time::Duration};

/// Whose message it is.
#[derive(Debug, Clone, Copy)]
pub struct Concerned<'a> {
    /// The account.
    pub account: &'a AccountId,
    /// Its tenant.
    pub tenant: &'a TenantId,
    /// The client's address; none for the provider's own servers.
    pub client: Option<IpPrefix>,
    /// The account's standing and how it came there.
    pub conduct: &'a Conduct,
}

/// What is remembered of a tenant and of a client address.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Company {
    /// Of the tenant.
    pub tenant: Group,
    /// Of the address.
    pub client: Group,
}

/// A tenant or a client address, as far as its suspended accounts speak against it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum GroupKey {
    /// A tenant.
    Tenant(TenantId),
    /// A client address.
    Client(IpPrefix),
}

/// The memory of behaviour. Each call may be a network round trip.
pub trait Behaviour: Send + Sync {
    /// Has something done with all that is remembered of a message's sender, by one caller at a time. Where two nodes meet it may
    /// be done again, with what the other has left.
    fn remember<'a>(
        &'a self,
        concerned: Concerned<'a>,
        now: Timestamp,
        act: &'a mut (dyn FnMut(&mut Memory<'_>) + Send),
    ) -> BoxFuture<'a, Result<(), StoreError>>;

    /// What is remembered of an account; none if nothing is.
    fn mind<'a>(
        &'a self,
        account: &'a AccountId,
    ) -> BoxFuture<'a, Result<Option<Mind>, StoreError>>;

    /// What is remembered of a tenant and a client address.
    fn company<'a>(
        &'a self,
        tenant: &'a TenantId,
        client: Option<IpPrefix>,
    ) -> BoxFuture<'a, Result<Company, StoreError>>;

    /// What is remembered of one of them.
    fn group<'a>(&'a self, group: &'a GroupKey) -> BoxFuture<'a, Result<Group, StoreError>>;

    /// Forgets that accounts of a tenant or client address were suspended; says whether there was anything to forget.
    fn forgive<'a>(&'a self, group: &'a GroupKey) -> BoxFuture<'a, Result<bool, StoreError>>;

    /// Since when nobody is suspended, because suspensions were a wave; none if they go on.
    fn wave(&self) -> BoxFuture<'_, Result<Option<Timestamp>, StoreError>>;

    /// A person says that suspensions are in order again; says whether they had stopped.
    fn end_wave(&self) -> BoxFuture<'_, Result<bool, StoreError>>;

    /// About how many accounts are remembered, of all that there are.
    fn count(&self) -> usize;

    /// Forgets an account.
    fn forget<'a>(&'a self, account: &'a AccountId) -> BoxFuture<'a, Result<(), StoreError>>;
}

/// The memory of the embedded store.
#[derive(Default)]
pub struct Minds {
    accounts: DashMap<AccountId, Arc<Mutex<Kept>>>,
    /// Accounts whose memory has changed since it was written down.
    changed: DashSet<AccountId>,
    groups: Mutex<Groups>,
    common: Mutex<Shared>,
    /// Where what is not in use stands; none: nowhere.
    file: Option<Archive>,
}

struct Kept {
    mind: Mind,
    used: Timestamp,
}

#[derive(Default)]
struct Groups {
    known: HashMap<GroupKey, Group>,
    changed: Vec<GroupKey>,
}

#[derive(Default)]
struct Shared {
    common: Common,
    has_changed: bool,
    /// When it was written down last.
    written: Option<Timestamp>,
}

/// How much is written down.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wanted {
    /// What is due.
    Due,
    /// Everything that has changed: the program ends.
    All,
}

/// One thing that is written down: its name, when it was used last, and what it is; none: it is forgotten.
pub type Written = (String, Timestamp, Option<Vec<u8>>);

impl Minds {
    /// The memory that a file has, and keeps.
    ///
    /// # Errors
    /// [`StoreError`] if the file cannot be read.
    pub async fn load(file: Archive) -> Result<Self, StoreError> {
        let mut groups = Groups::default();
        for (name, octets) in file.memory_of_groups().await? {
            if let Some((key, group)) = group_key(&name).zip(decoded(&octets)) {
                groups.known.insert(key, group);
            }
        }
        let common = file.memory(COMMON.into()).await?.as_deref().and_then(decoded);
        let common = Shared { common: common.unwrap_or_default(), ..Shared::default() };
        Ok(Self {
            groups: Mutex::new(groups),
            common: Mutex::new(common),
            file: Some(file),
            ..Self::default()
        })
    }

    /// How many accounts are in memory.
    #[must_use]
    pub fn len(&self) -> usize {
        self.accounts.len()
    }

    /// True if no account is.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.accounts.is_empty()
    }

    /// Writes down what has changed; what all share is large, and is written now and then unless all is wanted.
    ///
    /// # Errors
    /// [`StoreError`] if the file cannot be written; it is tried again with the next call.
    pub async fn write(&self, now: Timestamp, wanted: Wanted) -> Result<(), StoreError> {
        let Some(file) = &self.file else { return Ok(()) };
        // As many as there are now: what changes meanwhile waits for the next call, however much that is.
        for _ in 0..=self.changed.len() / ROWS_MAX {
            let rows = self.take_changed(now, wanted);
            if rows.is_empty() {
                break;
            }
            let names: Vec<String> = rows.iter().map(|(name, ..)| name.clone()).collect();
            if let Err(error) = file.keep_memory(rows).await {
                self.put_back(&names);
                return Err(error);
            }
        }
        Ok(())
    }

    /// Lets go of accounts that have not been used for a while and stand in the file as they are.
    pub fn sweep(&self, now: Timestamp) {
        if self.file.is_none() {
            return;
        }
        self.accounts.retain(|account, kept| {
            // Whoever holds the mind at this moment is about to change it.
            let is_idle = || kept.try_lock().is_some_and(|kept| now.since(kept.used) >= IDLE_AFTER);
            self.changed.contains(account) || Arc::strong_count(kept) > 1 || !is_idle()
        });
        let mut groups = self.groups.lock();
        let is_old =
            |group: &Group| group.last().is_none_or(|at| now.since(at) >= GROUP_FORGOTTEN_AFTER);
        let old: Vec<GroupKey> = groups
            .known
            .iter()
            .filter(|(_, group)| is_old(group))
            .map(|(key, _)| key.clone())
            .collect();
        for key in old {
            groups.known.remove(&key);
            groups.changed.push(key);
        }
    }

    /// The mind of an account: in memory, else from the file, else a new one.
    async fn find(&self, account: &AccountId, now: Timestamp) -> Arc<Mutex<Kept>> {
        if let Some(kept) = self.accounts.get(account) {
            return kept.clone();
        }
        let read = self.read(account).await;
        // Of what is not known now, or finds no room, nothing is remembered later either.
        let is_kept = read.is_ok() && self.accounts.len() < MINDS_MAX;
        let mind = read.ok().flatten().unwrap_or_else(|| Mind::new(now));
        let kept = Arc::new(Mutex::new(Kept { mind, used: now }));
        if !is_kept {
            return kept;
        }
        self.accounts.entry(account.clone()).or_insert(kept).clone()
    }

    /// What the file has of an account. Mail does not wait long for it.
    async fn read(&self, account: &AccountId) -> Result<Option<Mind>, StoreError> {
        let Some(file) = &self.file else { return Ok(None) };
        let found = tokio::time::timeout(FILE_TIME_MAX, file.memory(name_of(account))).await;
        let late = |_| StoreError::Unavailable("the file takes too long to answer".into());
        Ok(found.map_err(late)??.as_deref().and_then(decoded))
    }

    fn take_changed(&self, now: Timestamp, wanted: Wanted) -> Vec<Written> {
        let accounts: Vec<AccountId> =
            self.changed.iter().take(ROWS_MAX).map(|account| account.clone()).collect();
        let mut rows = Vec::with_capacity(accounts.len());
        for account in accounts {
            // Taken off the list first: a change that comes now puts it on again.
            self.changed.remove(&account);
            let Some(kept) = self.accounts.get(&account).map(|kept| kept.clone()) else { continue };
            let kept = kept.lock();
            rows.push((name_of(&account), kept.used, encoded(&kept.mind)));
        }
        let mut groups = self.groups.lock();
        for key in std::mem::take(&mut groups.changed) {
            let group = groups.known.get(&key).and_then(encoded);
            rows.push((name_of_group(&key), now, group));
        }
        drop(groups);
        let mut common = self.common.lock();
        let is_old = common.written.is_none_or(|at| now.since(at) >= COMMON_EVERY);
        if common.has_changed && (wanted == Wanted::All || is_old) {
            (common.has_changed, common.written) = (false, Some(now));
            rows.push((COMMON.into(), now, encoded(&common.common)));
        }
        rows
    }

    fn put_back(&self, names: &[String]) {
        for name in names {
            if let Some(key) = group_key(name) {
                self.groups.lock().changed.push(key);
            } else if name == COMMON {
                self.common.lock().has_changed = true;
            } else if let Some(Ok(account)) = name.strip_prefix(ACCOUNT).map(str::parse) {
                self.changed.insert(account);
            }
        }
    }
}

impl Behaviour for Minds {
    fn remember<'a>(
        &'a self,
        concerned: Concerned<'a>,
        now: Timestamp,
        act: &'a mut (dyn FnMut(&mut Memory<'_>) + Send),
    ) -> BoxFuture<'a, Result<(), StoreError>> {
        Box::pin(async move {
            let Concerned { account, tenant, client, conduct } = concerned;
            let kept = self.find(account, now).await;
            // The order is always this: an account, the groups, what all share.
            let mut kept = kept.lock();
            kept.used = kept.used.max(now);
            kept.mind.meet(conduct, now);
            let mut groups = self.groups.lock();
            let mut company = groups.company(tenant, client);
            let before = company.clone();
            let mut common = self.common.lock();
            let of_client = client.map(|_| &mut company.client);
            act(&mut Memory {
                account: spam::hash(account.as_str().as_bytes()),
                mind: &mut kept.mind,
                tenant: &mut company.tenant,
                client: of_client,
                common: &mut common.common,
            });
            common.has_changed = true;
            drop(common);
            groups.put_changed((tenant, client), &before, company);
            drop(groups);
            drop(kept);
            if self.accounts.contains_key(account) {
                self.changed.insert(account.clone());
            }
            Ok(())
        })
    }

    fn mind<'a>(
        &'a self,
        account: &'a AccountId,
    ) -> BoxFuture<'a, Result<Option<Mind>, StoreError>> {
        Box::pin(async move {
            let kept = self.accounts.get(account).map(|kept| kept.clone());
            match kept {
                Some(kept) => Ok(Some(kept.lock().mind.clone())),
                None => self.read(account).await,
            }
        })
    }

    fn company<'a>(
        &'a self,
        tenant: &'a TenantId,
        client: Option<IpPrefix>,
    ) -> BoxFuture<'a, Result<Company, StoreError>> {
        Box::pin(async move { Ok(self.groups.lock().company(tenant, client)) })
    }

    fn group<'a>(&'a self, group: &'a GroupKey) -> BoxFuture<'a, Result<Group, StoreError>> {
        Box::pin(async move { Ok(self.groups.lock().find(group)) })
    }

    fn forgive<'a>(&'a self, group: &'a GroupKey) -> BoxFuture<'a, Result<bool, StoreError>> {
        Box::pin(async move {
            let mut groups = self.groups.lock();
            let known = groups.known.remove(group).is_some();
            if known {
                groups.changed.push(group.clone());
            }
            Ok(known)
        })
    }

    fn wave(&self) -> BoxFuture<'_, Result<Option<Timestamp>, StoreError>> {
        Box::pin(async move { Ok(self.common.lock().common.breaker.open_since()) })
    }

    fn end_wave(&self) -> BoxFuture<'_, Result<bool, StoreError>> {
        Box::pin(async move {
            let mut common = self.common.lock();
            let had_stopped = !common.common.breaker.is_closed();
            common.common.breaker.close();
            common.has_changed = true;
            Ok(had_stopped)
        })
    }

    fn forget<'a>(&'a self, account: &'a AccountId) -> BoxFuture<'a, Result<(), StoreError>> {
        Box::pin(async move {
            self.changed.remove(account);
            self.accounts.remove(account);
            match &self.file {
                None => Ok(()),
                Some(file) => {
                    file.keep_memory(vec![(name_of(account), Timestamp::EPOCH, None)]).await
                }
            }
        })
    }

    fn count(&self) -> usize {
        self.accounts.len()
    }
}

impl Groups {
    fn company(&self, tenant: &TenantId, client: Option<IpPrefix>) -> Company {
        if self.known.is_empty() {
            return Company::default();
        }
        let client = client.map(|prefix| self.find(&GroupKey::Client(prefix)));
        Company {
            tenant: self.find(&GroupKey::Tenant(tenant.clone())),
            client: client.unwrap_or_default(),
        }
    }

    fn find(&self, key: &GroupKey) -> Group {
        self.known.get(key).cloned().unwrap_or_default()
    }

    fn put_changed(
        &mut self,
        (tenant, client): (&TenantId, Option<IpPrefix>),
        before: &Company,
        after: Company,
    ) {
        if before.tenant != after.tenant {
            self.put(GroupKey::Tenant(tenant.clone()), after.tenant);
        }
        if let Some(prefix) = client.filter(|_| before.client != after.client) {
            self.put(GroupKey::Client(prefix), after.client);
        }
    }

    fn put(&mut self, key: GroupKey, group: Group) {
        if self.known.len() >= GROUPS_MAX && !self.known.contains_key(&key) {
            return;
        }
        self.known.insert(key.clone(), group);
        self.changed.push(key);
    }
}

/// Version first: what another version wrote is forgotten.
fn encoded(value: &impl serde::Serialize) -> Option<Vec<u8>> {
    postcard::to_extend(value, vec![VERSION]).ok()
}

fn decoded<T: serde::de::DeserializeOwned>(octets: &[u8]) -> Option<T> {
    let (&version, rest) = octets.split_first()?;
    if version == VERSION { postcard::from_bytes(rest).ok() } else { None }
}

fn name_of(account: &AccountId) -> String {
    format!("{ACCOUNT}{account}")
}

fn name_of_group(key: &GroupKey) -> String {
    match key {
        GroupKey::Tenant(tenant) => format!("{TENANT}{tenant}"),
        GroupKey::Client(prefix) => format!("{CLIENT}{prefix}"),
    }
}

fn group_key(name: &str) -> Option<GroupKey> {
    if let Some(tenant) = name.strip_prefix(TENANT) {
        return tenant.parse().ok().map(GroupKey::Tenant);
    }
    name.strip_prefix(CLIENT)?.parse().ok().map(GroupKey::Client)
}

/// How names of what is written down begin.
const ACCOUNT: &str = "account/";
pub(super) const TENANT: &str = "tenant/";
pub(super) const CLIENT: &str = "client/";
const COMMON: &str = "common";
/// Grows with every change of what is written down.
const VERSION: u8 = 1;
/// Wait for the file.
const FILE_TIME_MAX: Duration = Duration::from_millis(500);
/// Accounts in memory: a few hundred megabytes.
const MINDS_MAX: usize = 300_000;
/// Tenants and client addresses of which accounts were suspended.
const GROUPS_MAX: usize = 100_000;
/// Accounts in one write.
const ROWS_MAX: usize = 1_000;
/// What all share is written down at most so often.
const COMMON_EVERY: Duration = Duration::from_secs(60);
/// Whoever sent nothing for so long leaves the memory.
const IDLE_AFTER: Duration = Duration::from_secs(3_600);
/// Tenants and addresses are as good as others when the last suspension is so long ago.
const GROUP_FORGOTTEN_AFTER: Duration = Duration::from_secs(30 * 86_400);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        rules::{
            judgement::Settings,
            spam::{Attempt, Recipient, Signal, Text},
        },
        store::archive,
    };
    use std::path::Path;

    const TENANT_OF_ALL: &str = "shop.example";

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_millis(1_700_000_000_000 + seconds * 1_000)
    }

    async fn load(folder: &Path) -> (Minds, Archive) {
        let settings = archive::Settings { path: folder.join("archive.db") };
        let file = archive::open(&settings).unwrap();
        (Minds::load(file.clone()).await.unwrap(), file)
    }

    /// A message to a spam trap, and a suspension for it.
    async fn sin(minds: &Minds, name: &str, now: Timestamp) {
        let (account, tenant) = (name.parse().unwrap(), TENANT_OF_ALL.parse().unwrap());
        let (conduct, client) = (Conduct::default(), Some("192.0.2.7".parse().unwrap()));
        let concerned = Concerned { account: &account, tenant: &tenant, client, conduct: &conduct };
        let recipients = [Recipient { key: 1, is_trap: true }];
        let attempt = Attempt {
            at: now,
            client: None,
            recipients: &recipients,
            over_limit: 0,
            is_null_sender: false,
            text: Text::default(),
        };
        let mut act = |memory: &mut Memory<'_>| {
            let settings = Settings::default();
            let _opinion = memory.look(&attempt, &settings);
            let _aftermath = memory.condemn(&attempt, 1_000, &settings);
        };
        minds.remember(concerned, now, &mut act).await.unwrap();
    }

    async fn points(minds: &Minds, name: &str) -> Option<f32> {
        let mind = minds.mind(&name.parse().unwrap()).await.unwrap();
        mind.map(|mind| mind.evidence().of(Signal::Traps))
    }

    async fn company(minds: &Minds) -> Company {
        let client = Some("192.0.2.7".parse().unwrap());
        minds.company(&TENANT_OF_ALL.parse().unwrap(), client).await.unwrap()
    }

    #[tokio::test]
    async fn what_was_written_down_is_known_to_the_next_process() {
        let folder = tempfile::tempdir().unwrap();
        let (minds, file) = load(folder.path()).await;
        for name in ["a@shop.example", "b@shop.example", "c@shop.example"] {
            sin(&minds, name, at(0)).await;
        }
        let (known, common) = (company(&minds).await, minds.common.lock().common.clone());
        minds.write(at(1), Wanted::All).await.unwrap();
        // What comes after the last write is lost in a crash, and only that.
        sin(&minds, "d@shop.example", at(2)).await;
        drop(minds);
        file.close().await;

        let (minds, _file) = load(folder.path()).await;
        assert_eq!(points(&minds, "a@shop.example").await, Some(4.0));
        assert_eq!(points(&minds, "d@shop.example").await, None);
        assert_eq!((company(&minds).await, minds.common.lock().common.clone()), (known, common));
        let key = GroupKey::Tenant(TENANT_OF_ALL.parse().unwrap());
        assert!(minds.forgive(&key).await.unwrap());
        minds.write(at(3), Wanted::Due).await.unwrap();
        assert!(minds.groups.lock().changed.is_empty() && minds.changed.is_empty());
        let left = minds.file.as_ref().unwrap().memory_of_groups().await.unwrap();
        assert_eq!(left.len(), 1, "the client address is left");
    }

    #[tokio::test]
    async fn who_is_idle_leaves_the_memory_and_comes_back_as_it_was() {
        let folder = tempfile::tempdir().unwrap();
        let (minds, _file) = load(folder.path()).await;
        sin(&minds, "a@shop.example", at(0)).await;
        minds.sweep(at(90_000));
        assert_eq!(minds.len(), 1, "it is not written down yet");
        minds.write(at(1), Wanted::Due).await.unwrap();
        minds.sweep(at(3_599));
        assert_eq!(minds.len(), 1);
        minds.sweep(at(3_600));
        assert!(minds.is_empty());
        sin(&minds, "a@shop.example", at(3_601)).await;
        assert_eq!(points(&minds, "a@shop.example").await, Some(5.0), "4 of before, and the cap");
        // A group is as good as others after a month.
        minds.sweep(at(31 * 86_400));
        assert_eq!(company(&minds).await, Company::default());
    }

    #[tokio::test]
    async fn what_cannot_be_written_waits_and_what_cannot_be_read_is_forgotten() {
        let folder = tempfile::tempdir().unwrap();
        let (minds, file) = load(folder.path()).await;
        sin(&minds, "a@shop.example", at(0)).await;
        file.close().await;
        assert!(minds.write(at(1), Wanted::All).await.is_err());
        assert_eq!((minds.changed.len(), minds.groups.lock().changed.len()), (1, 2));
        assert!(minds.common.lock().has_changed);

        let (_, file) = load(folder.path()).await;
        let row = |octets: &[u8]| ("account/a@shop.example".into(), at(0), Some(octets.to_vec()));
        for octets in [&[][..], &[VERSION][..], &[VERSION + 1, 0, 0], &[VERSION, 0xff, 0xff, 0xff]]
        {
            file.keep_memory(vec![row(octets)]).await.unwrap();
            let minds = Minds::load(file.clone()).await.unwrap();
            assert_eq!(points(&minds, "a@shop.example").await, None, "{octets:?}");
        }
    }
}
