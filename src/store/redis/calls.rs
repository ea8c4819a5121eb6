//! What is said to Redis: names of keys, the arguments of the scripts and their answers.

use super::{
    End, Name, Shared,
    link::{self, Connection},
};
use crate::{
    event::{LimitHit, LimitReached},
    rules::identity,
    rules::limits::Mode,
    store::{
        StoreError,
        ledger::{ChargePer, Demand, Grant, Granted, Observed, Request, Settlement},
        records::Revision,
        windows::millis,
    },
    types::{Key, KeyRef, Limit, Scope, Timestamp},
};
use redis::{Cmd, ErrorKind, RedisError, Script, ScriptInvocation, ServerErrorKind, ToRedisArgs};
use std::borrow::{Borrow, Cow};

/// The scripts; Redis is given them when it does not know them.
pub(super) struct Scripts {
    reserve: Script,
    settle: Script,
    charge: Script,
}

impl Default for Scripts {
    fn default() -> Self {
        Self {
            reserve: Script::new(concat!(include_str!("window.lua"), include_str!("reserve.lua"))),
            settle: Script::new(concat!(include_str!("window.lua"), include_str!("settle.lua"))),
            charge: Script::new(concat!(include_str!("window.lua"), include_str!("charge.lua"))),
        }
    }
}

/// The same moment, for the caller and as it counted in Redis.
#[derive(Debug, Clone, Copy)]
pub(super) struct Times {
    pub(super) caller: Timestamp,
    pub(super) counted: Timestamp,
}

impl Times {
    /// A later moment of Redis on the caller's clock.
    pub(super) fn to_caller(self, moment: Timestamp) -> Timestamp {
        self.caller + moment.since(self.counted)
    }
}

/// The names of a window in Redis: its own, and that of its buckets. Both, and those of a tenant and its accounts, are in one
/// hash slot.
pub(super) fn names(prefix: &str, key: &Key) -> [String; 2] {
    names_in(prefix, &tag_of(key), key.as_str())
}

fn names_in(prefix: &str, tag: &str, name: &str) -> [String; 2] {
    let parts = [prefix, ":", VERSION, ":{", tag, "}", name, OLDER];
    let older = parts.concat();
    [older[..older.len() - OLDER.len()].to_owned(), older]
}

/// The names of a window whose account was erased: in the same slot, and none that a window has.
pub(super) fn names_of_erased(prefix: &str, key: &Key, alias: &str) -> [String; 2] {
    let tag = tag_of(key);
    // An account that is no address is its own tenant.
    let tag = if tag == key.parts().name { "erased".into() } else { tag };
    names_in(prefix, &tag, alias)
}

/// The window that has this name, if it is one of ours and no buckets.
pub(super) fn key_of(prefix: &str, name: &str) -> Option<Key> {
    let ours = name.strip_prefix(prefix)?.strip_prefix(':')?.strip_prefix(VERSION)?;
    let tagged = ours.strip_prefix(":{")?;
    // The tag may have a brace in it, the key's first part has none.
    let starts = tagged.match_indices('}').map(|(at, _)| &tagged[at + 1..]);
    let mut keys = starts.filter_map(|text| text.parse::<Key>().ok());
    keys.find(|key| names(prefix, key)[0] == name)
}

/// By its name alone, so that a window does not move when an account is given to another tenant.
fn tag_of(key: &Key) -> Cow<'_, str> {
    let KeyRef { scope, name, .. } = key.parts();
    let account = (scope == Scope::Account).then(|| name.parse().ok()).flatten();
    let tag = account.map_or(Cow::Borrowed(name), |account| {
        Cow::Owned(identity::tenant_name_of(&account).to_owned())
    });
    // An empty tag is none, and a window and its buckets would be in two slots.
    if tag.starts_with('}') { Cow::Owned(format!("_{tag}")) } else { tag }
}

/// A request for recipients in windows of one slot.
pub(super) struct Ask<'a> {
    pub(super) shared: &'a Shared,
    pub(super) demands: &'a [&'a Demand],
    pub(super) request: &'a Request,
    /// How many may be granted, the first ones: those that other windows have room for.
    pub(super) most: u32,
    /// Recipients that the reservation has.
    pub(super) had: u32,
    /// What must be the last change of records.
    pub(super) follows: Option<Revision>,
    pub(super) name: Name,
    pub(super) now: Timestamp,
}

impl Ask<'_> {
    pub(super) async fn send(&self, connection: &mut Connection) -> Result<Answer, RedisError> {
        Answer::in_time(connection, |waits_until| Ok(self.call(waits_until))).await
    }

    fn call(&self, waits_until: i64) -> Invocation<'_> {
        let shared = self.shared;
        let mut numbers = Numbers::with([
            u64::try_from(waits_until).unwrap_or(0),
            millis(shared.settings.open_time_max),
            millis(shared.settings.unknown_margin),
            millis(shared.history()),
            self.request.recipients.into(),
            self.had.into(),
            self.most.into(),
            (self.request.grant == Grant::InOrder).into(),
        ]);
        for demand in self.demands {
            numbers.add((demand.per == ChargePer::Recipient).into());
            numbers.add((demand.mode == Mode::Observe).into());
            numbers.add_limits(&demand.limits);
        }
        let mut call = shared.invoke(&shared.scripts.reserve, self.demands);
        call.arg(shared.time_to_send(self.now)).numbers(&numbers);
        call.arg(&self.name[..]).arg(millis(shared.time_to_live()));
        match self.follows {
            Some(revision) => call.arg(&shared.records_head).arg(revision.to_string()),
            None => call.arg("").arg(""),
        };
        call
    }
}

/// Charges that were made elsewhere, oldest first.
pub(super) struct Past<'a> {
    pub(super) shared: &'a Shared,
    pub(super) names: &'a [String; 2],
    /// At how many milliseconds from now, negative for the past, and how many.
    pub(super) charges: &'a [(i64, u32)],
    pub(super) now: Timestamp,
}

impl Past<'_> {
    /// Charges them whatever the limits are.
    pub(super) async fn send(&self, connection: &mut Connection) -> Result<Answer, RedisError> {
        Answer::in_time(connection, |waits_until| Ok(self.call(waits_until))).await
    }

    fn call(&self, waits_until: i64) -> Invocation<'_> {
        let shared = self.shared;
        let numbers = Numbers::with([
            u64::try_from(waits_until).unwrap_or(0),
            millis(shared.settings.unknown_margin),
            millis(shared.history()),
        ]);
        let mut call = Invocation::of(&shared.scripts.charge, std::iter::once(self.names));
        call.arg(shared.time_to_send(self.now)).numbers(&numbers);
        call.arg(millis(shared.time_to_live()));
        for (from_now, count) in self.charges {
            call.arg(*from_now).arg(*count);
        }
        call
    }
}

impl Shared {
    /// Tells Redis how a reservation ends; the limits that are nearly or wholly used by it.
    pub(super) async fn tell(
        &self,
        connection: &mut Connection,
        end: &End,
        now: Timestamp,
    ) -> Result<Vec<LimitReached>, RedisError> {
        let mut numbers = Numbers::with([
            millis(self.settings.unknown_margin),
            millis(self.history()),
            (end.settlement != Settlement::Unknown).into(),
        ]);
        for demand in &end.demands {
            numbers.add(demand.cost(0, end.stamped).into());
            numbers.add(demand.cost(0, end.stays).into());
            numbers.add_limits(&demand.limits);
        }
        let mut call = self.invoke(&self.scripts.settle, &end.demands);
        call.arg(self.time_to_send(now)).numbers(&numbers).arg(&end.name[..]);
        call.arg(millis(self.time_to_live()));
        Ok(Answer::of(call, connection).await?.reached(&end.demands))
    }

    fn invoke<'a>(&self, script: &'a Script, demands: &[impl Borrow<Demand>]) -> Invocation<'a> {
        Invocation::of(script, demands.iter().map(|demand| self.names(&demand.borrow().key)))
    }

    /// The time, if it is not the server's that counts.
    fn time_to_send(&self, now: Timestamp) -> String {
        if self.is_by_server() { String::new() } else { now.as_millis().to_string() }
    }
}

/// A call of one of the scripts.
pub(super) trait Call {
    /// Does it; a script that Redis does not know is given to it first.
    fn invoke(
        &self,
        connection: &mut Connection,
    ) -> impl Future<Output = Result<Vec<i64>, RedisError>> + Send;
}

impl Call for ScriptInvocation<'_> {
    async fn invoke(&self, connection: &mut Connection) -> Result<Vec<i64>, RedisError> {
        self.invoke_async(connection).await
    }
}

/// A call of a script for windows, made in place: of these there are two for each message.
struct Invocation<'a> {
    script: &'a Script,
    command: Cmd,
}

impl<'a> Invocation<'a> {
    fn of(
        script: &'a Script,
        windows: impl ExactSizeIterator<Item = impl Borrow<[String; 2]>>,
    ) -> Self {
        let keys = 2 * windows.len();
        let mut command = Cmd::with_capacity(ARGUMENTS + keys, OCTETS + OCTETS_OF_KEY * keys);
        command.arg("EVALSHA").arg(script.get_hash()).arg(keys);
        for names in windows {
            let [window, older] = names.borrow();
            command.arg(window).arg(older);
        }
        Self { script, command }
    }

    fn arg(&mut self, value: impl ToRedisArgs) -> &mut Self {
        self.command.arg(value);
        self
    }

    fn numbers(&mut self, Numbers(octets): &Numbers) -> &mut Self {
        let form = [">", &NUMBER.repeat(octets.len() / NUMBER_OCTETS)].concat();
        self.arg(form).arg(octets)
    }
}

impl Call for Invocation<'_> {
    async fn invoke(&self, connection: &mut Connection) -> Result<Vec<i64>, RedisError> {
        let first = self.command.query_async(connection).await;
        if first.as_ref().is_err_and(|error: &RedisError| error.kind() == NO_SCRIPT) {
            self.script.load_async(connection).await?;
            return self.command.query_async(connection).await;
        }
        first
    }
}

/// Numbers as window.lua takes them: all in one text.
struct Numbers(Vec<u8>);

impl Numbers {
    fn with<const N: usize>(first: [u64; N]) -> Self {
        let mut numbers = Self(Vec::with_capacity(NUMBER_OCTETS * 32));
        first.into_iter().for_each(|number| numbers.add(number));
        numbers
    }

    fn add(&mut self, number: u64) {
        let [_, _, octets @ ..] = number.min(NUMBER_MAX).to_be_bytes();
        self.0.extend_from_slice(&octets);
    }

    fn add_limits(&mut self, limits: &[Limit]) {
        self.add(limits.len() as u64);
        for limit in limits {
            self.add(millis(limit.window.length()));
            self.add(limit.max.into());
        }
    }
}

/// What a script said: numbers, the first two of them a state and the server's time.
pub(super) struct Answer(Vec<i64>);

impl Answer {
    pub(super) fn state(&self) -> i64 {
        self.0.first().copied().unwrap_or(LATE)
    }

    /// What follows the state and the time.
    pub(super) fn rest(&self) -> &[i64] {
        self.0.get(2..).unwrap_or_default()
    }

    /// Asks by what is made of the moment until which the caller waits, and once more if Redis found by a wrong guess at its clock that
    /// this was over.
    pub(super) async fn in_time<C: Call>(
        connection: &mut Connection,
        make: impl Fn(i64) -> Result<C, RedisError>,
    ) -> Result<Self, RedisError> {
        let first = Self::of(make(connection.waits_until())?, connection).await?;
        if !first.is_late() {
            return Ok(first);
        }
        Self::of(make(connection.waits_until())?, connection).await
    }

    pub(super) async fn of(
        call: impl Call,
        connection: &mut Connection,
    ) -> Result<Self, RedisError> {
        let answer = call.invoke(connection).await?;
        let [_state, time, ..] = answer[..] else {
            return Err(RedisError::from((ErrorKind::Parse, "a script's answer is too short")));
        };
        connection.note_time(time);
        Ok(Self(answer))
    }

    pub(super) fn is_late(&self) -> bool {
        self.0.first() == Some(&LATE)
    }

    /// The answer to [`Ask`].
    pub(super) fn granted(
        &self,
        demands: &[&Demand],
        now: Timestamp,
    ) -> Result<Granted, StoreError> {
        if self.is_late() {
            return Err(StoreError::Unavailable("Redis was asked too late".into()));
        }
        if self.0.first() == Some(&OUTDATED) {
            return Err(StoreError::Outdated);
        }
        if self.0.first() == Some(&TOO_MANY_OPEN) {
            let what = "the list of open reservations of a window";
            return Err(StoreError::Full { what, max: OPEN_MAX });
        }
        let senseless = || StoreError::Damaged("Redis gave an answer without sense".into());
        let [_, _, counted, granted, rest @ ..] = &self.0[..] else { return Err(senseless()) };
        let Ok(recipients) = u32::try_from(*granted) else { return Err(senseless()) };
        let [a, b, c, d, observed, e, f, g, h] = rest else {
            let all = Granted { recipients, hit: None, observed: None };
            return if rest.is_empty() { Ok(all) } else { Err(senseless()) };
        };
        let times = Times { caller: now, counted: Timestamp::from_millis(*counted) };
        let hit = |numbers| hit_of(numbers, demands, times);
        let refused = hit([*e, *f, *g, *h]).zip(u32::try_from(*observed).ok());
        let observed = refused.map(|(hit, recipients)| Observed { recipients, hit });
        Ok(Granted { recipients, hit: hit([*a, *b, *c, *d]), observed })
    }

    /// The answer to [`Shared::tell`].
    fn reached(&self, demands: &[Demand]) -> Vec<LimitReached> {
        let four = self.0.get(3..).unwrap_or_default().as_chunks().0;
        four.iter().filter_map(|&numbers| reached_of(numbers, demands)).collect()
    }
}

fn hit_of(
    [place, number, used, slot]: [i64; 4],
    demands: &[&Demand],
    times: Times,
) -> Option<LimitHit> {
    let (demand, limit) = find(demands, place, number)?;
    let used = u32::try_from(used).ok()?;
    let next_slot = (slot >= 0).then(|| times.to_caller(Timestamp::from_millis(slot)));
    Some(LimitHit { key: demand.key.clone(), limit, used, next_slot })
}

fn reached_of([place, number, sent, open]: [i64; 4], demands: &[Demand]) -> Option<LimitReached> {
    let (demand, limit) = find(demands, place, number)?;
    let (sent, open) = (u32::try_from(sent).ok()?, u32::try_from(open).ok()?);
    let percent = if sent >= limit.max { 100 } else { 80 };
    let unit = demand.key.parts().unit;
    let used = sent.saturating_add(open);
    Some(LimitReached { key: demand.key.clone(), unit, limit, used, percent })
}

/// Scripts count from 1.
fn find(demands: &[impl Borrow<Demand>], place: i64, number: i64) -> Option<(&Demand, Limit)> {
    let index = |n: i64| usize::try_from(n).ok()?.checked_sub(1);
    let demand = demands.get(index(place)?)?.borrow();
    Some((demand, *demand.limits.get(index(number)?)?))
}

/// A window with its buckets at one moment, and that moment.
pub(super) async fn read(
    connection: &mut Connection,
    [window, older]: &[String; 2],
) -> Result<(Timestamp, Vec<u8>, Vec<u8>), RedisError> {
    let mut together = redis::pipe();
    together.atomic().cmd("TIME").get(window).get(older);
    let (time, window, older): ((i64, i64), Vec<u8>, Vec<u8>) =
        together.query_async(connection).await?;
    Ok((Timestamp::from_millis(link::server_millis(time)), window, older))
}

/// Some of the names of keys of a scope, and where to go on; 0 at the end.
pub(super) async fn scan(
    connection: &mut Connection,
    prefix: &str,
    scope: Scope,
    cursor: u64,
) -> Result<(u64, Vec<String>), RedisError> {
    let mut call = redis::cmd("SCAN");
    call.arg(cursor).arg("MATCH").arg(format!("{prefix}:{VERSION}:{{*}}{scope}/*"));
    call.arg("COUNT").arg(SCAN_COUNT).query_async(connection).await
}

/// The name of what says in which form all keys are. It has no form itself.
pub(super) fn form_name(prefix: &str) -> String {
    format!("{prefix}:form")
}

/// The form that the keys are in: this program's where nobody has said so.
pub(super) async fn form(connection: &mut Connection, name: &str) -> Result<String, RedisError> {
    let mut together = redis::pipe();
    together.atomic().cmd("SET").arg(name).arg(VERSION).arg("NX").ignore().get(name);
    let (form,): (Option<String>,) = together.query_async(connection).await?;
    Ok(form.unwrap_or_default())
}

/// A field of a hash.
pub(super) async fn read_field(
    connection: &mut Connection,
    name: &str,
    field: &str,
) -> Result<Option<String>, RedisError> {
    redis::cmd("HGET").arg(name).arg(field).query_async(connection).await
}

/// Sets a field of a hash, or takes it out.
pub(super) async fn write_field(
    connection: &mut Connection,
    name: &str,
    (field, text): (&str, Option<&str>),
) -> Result<(), RedisError> {
    let mut call = redis::cmd(if text.is_some() { "HSET" } else { "HDEL" });
    call.arg(name).arg(field).arg(text);
    call.query_async::<i64>(connection).await.map(drop)
}

/// Of the form of keys and of what they hold.
pub(super) const VERSION: &str = "1";
/// What the name of a window's buckets ends with; no window's does, because a name has no blank.
const OLDER: &str = " older";
/// A number of a call, as Lua's `struct` names it and by its size.
const NUMBER: &str = "I6";
const NUMBER_OCTETS: usize = 6;
const NUMBER_MAX: u64 = (1 << 48) - 1;
/// What a call of a script holds beside its keys, and an average key.
const ARGUMENTS: usize = 10;
const OCTETS: usize = 384;
const OCTETS_OF_KEY: usize = 64;
const NO_SCRIPT: ErrorKind = ErrorKind::Server(ServerErrorKind::NoScript);
const LATE: i64 = 1;
const TOO_MANY_OPEN: i64 = 2;
const OUTDATED: i64 = 3;
/// How many reservations of one window may be open, as window.lua has it.
const OPEN_MAX: usize = 8_192;
const SCAN_COUNT: u32 = 1_000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_that_of_one_window() {
        for (key, name) in [
            ("account/r/a@shop.example", "p:1:{shop.example}account/r/a@shop.example"),
            ("tenant/m/shop.example", "p:1:{shop.example}tenant/m/shop.example"),
            ("client-ip/r/2001:db8::/64", "p:1:{2001:db8::/64}client-ip/r/2001:db8::/64"),
            ("account/r/a}b@c}d", "p:1:{c}d}account/r/a}b@c}d"),
            ("account/r/}b", "p:1:{_}b}account/r/}b"),
        ] {
            let key: Key = key.parse().unwrap();
            let [window, older] = names("p", &key);
            assert_eq!(window, name);
            assert_eq!(key_of("p", &window), Some(key));
            assert_eq!((key_of("p", &older), key_of("q", &window)), (None, None));
        }
    }
}
