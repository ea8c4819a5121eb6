//! What is said to Redis of records: names of keys, the arguments of the scripts and their answers.

use super::super::{
    calls::{Answer, VERSION},
    link::Connection,
};
use crate::{
    store::{
        Changed, StoreError,
        records::{Recorded, Revision, SubjectKind, SubjectRecord},
        subjects::{kind_of, name_of},
        windows::millis,
    },
    types::SubjectId,
};
use redis::{RedisError, Script, ScriptInvocation};
use std::{collections::HashMap, sync::Arc, time::Duration};

/// The scripts; Redis is given them when it does not know them.
pub(super) struct Scripts {
    pub(super) change: Script,
    lease: Script,
    restore: Script,
    erase: Script,
    close: Script,
    cut: Script,
}

impl Default for Scripts {
    fn default() -> Self {
        Self {
            change: Script::new(include_str!("change.lua")),
            lease: Script::new(include_str!("lease.lua")),
            restore: Script::new(include_str!("restore.lua")),
            erase: Script::new(include_str!("erase.lua")),
            close: Script::new(include_str!("close.lua")),
            cut: Script::new(include_str!("cut.lua")),
        }
    }
}

/// What is under a name, which is this if nothing was.
pub(in super::super) async fn share_key(
    redis: &mut Connection,
    name: &str,
    own: &[u8],
) -> Result<Vec<u8>, RedisError> {
    let mut together = redis::pipe();
    together.atomic().cmd("SET").arg(name).arg(own).arg("NX").ignore().get(name);
    let (known,): (Vec<u8>,) = together.query_async(redis).await?;
    Ok(known)
}

/// Cuts a stream up to an entry, that one too; false if too much would stay.
pub(super) async fn cut_stream(
    redis: &mut Connection,
    scripts: &Scripts,
    name: &str,
    up_to: i64,
) -> Result<bool, RedisError> {
    let mut call = scripts.cut.prepare_invoke();
    call.key(name).arg(format!("{}-0", up_to.saturating_add(1))).arg(LEFT_MAX);
    Ok(Answer::of(call, redis).await?.state() == DONE)
}

/// The names of what Redis holds; all are in one hash slot.
pub(super) struct Names {
    /// Each subject's record, in JSON.
    pub(super) records: String,
    /// The last change that they have in them.
    pub(super) head: String,
    /// The newest changes, by their numbers.
    pub(super) changes: String,
    leases: String,
    /// What names of erased accounts are made with.
    pub(super) erasure_key: String,
}

impl Names {
    pub(super) fn new(prefix: &str) -> Self {
        let name = |what| format!("{prefix}:{VERSION}:{{{TAG}}}{what}");
        Self {
            records: name("subjects"),
            head: head_name(prefix),
            changes: name("changes"),
            leases: name("lease"),
            erasure_key: name("erasure-key"),
        }
    }

    fn lease(&self, task: &str) -> String {
        format!("{}/{task}", self.leases)
    }
}

/// The name of the last change, which the scripts of the ledger look at too.
pub(in super::super) fn head_name(prefix: &str) -> String {
    format!("{prefix}:{VERSION}:{{{TAG}}}head")
}

/// The name of how far histories were moved here.
pub(in super::super) fn moves_name(prefix: &str) -> String {
    format!("{prefix}:{VERSION}:{{{TAG}}}moved")
}

/// A change as all nodes are told of it.
pub(super) struct Entry {
    /// The change before it.
    pub(super) before: Revision,
    pub(super) revision: Revision,
    pub(super) recorded: Recorded,
    pub(super) changed: Changed,
}

type Fields = HashMap<String, Vec<u8>>;

/// The last change, and those after a number, as they follow one another.
pub(super) async fn read_changes(
    connection: &mut Connection,
    names: &Names,
    after: i64,
) -> Result<(Option<String>, Vec<(String, Fields)>), RedisError> {
    let mut together = redis::pipe();
    together.atomic().get(&names.head).cmd("XRANGE").arg(&names.changes);
    together.arg(format!("({after}")).arg("+").arg("COUNT").arg(ENTRIES_MAX);
    together.query_async(connection).await
}

impl Entry {
    pub(super) fn read((id, fields): (String, Fields)) -> Result<Self, StoreError> {
        let field = |name: &str| {
            let value = fields.get(name).map(Vec::as_slice);
            value.and_then(|octets| std::str::from_utf8(octets).ok()).ok_or_else(damaged)
        };
        let number = id.strip_suffix("-0").and_then(|number| number.parse().ok());
        let number = number.ok_or_else(damaged)?;
        let mark = field("mark")?.parse().map_err(|_| damaged())?;
        let subject = subject_of(field("subject")?)?;
        let record = record_of(field("record")?.as_bytes())?;
        Ok(Self {
            before: field("before")?.parse()?,
            revision: Revision { number, mark },
            recorded: (subject, Arc::new(record)),
            changed: serde_json::from_str(field("change")?).map_err(|_| damaged())?,
        })
    }
}

/// Some of the records, and where to go on; 0 at the end.
pub(super) async fn scan(
    connection: &mut Connection,
    names: &Names,
    cursor: u64,
) -> Result<(u64, Vec<(String, Vec<u8>)>), RedisError> {
    connection.must_be_at_rest()?;
    let mut call = redis::cmd("HSCAN");
    call.arg(&names.records).arg(cursor).arg("COUNT").arg(ENTRIES_MAX);
    call.query_async(connection).await
}

pub(super) fn recorded((field, text): (String, Vec<u8>)) -> Result<Recorded, StoreError> {
    Ok((subject_of(&field)?, Arc::new(record_of(&text)?)))
}

/// What stands there of a subject.
pub(super) async fn find(
    connection: &mut Connection,
    names: &Names,
    subject: &SubjectId,
) -> Result<Vec<u8>, RedisError> {
    let found: Option<Vec<u8>> = redis::cmd("HGET")
        .arg(&names.records)
        .arg(field_of(subject))
        .query_async(connection)
        .await?;
    Ok(found.unwrap_or_default())
}

/// A record that is to be written if it is still what was seen.
pub(super) struct Write<'a> {
    pub(super) subject: &'a SubjectId,
    pub(super) seen: &'a [u8],
    pub(super) record: &'a SubjectRecord,
    pub(super) changed: &'a Changed,
    pub(super) mark: i64,
}

impl Write<'_> {
    pub(super) async fn send(
        &self,
        connection: &mut Connection,
        asked: (&Scripts, &Names),
    ) -> Result<Answer, RedisError> {
        Answer::in_time(connection, |waits_until| self.call(waits_until, asked)).await
    }

    fn call<'s>(
        &self,
        waits_until: i64,
        (scripts, names): (&'s Scripts, &Names),
    ) -> Result<ScriptInvocation<'s>, RedisError> {
        let mut call = scripts.change.prepare_invoke();
        call.key(&names.records).key(&names.head).key(&names.changes);
        call.arg(waits_until).arg(field_of(self.subject)).arg(self.seen);
        call.arg(text_of(self.record)?).arg(json(self.changed)?);
        call.arg(self.mark).arg(CHANGES_KEPT);
        Ok(call)
    }
}

/// An account that is to be erased.
pub(super) struct Erasure<'a> {
    pub(super) subject: &'a SubjectId,
    /// The name under which what is left stands.
    pub(super) alias: &'a SubjectId,
    pub(super) left: &'a SubjectRecord,
    pub(super) changed: &'a Changed,
    pub(super) marks: [i64; 2],
    /// Each window, its buckets, and the new names of both.
    pub(super) windows: &'a [[String; 4]],
}

impl Erasure<'_> {
    pub(super) async fn send(
        &self,
        connection: &mut Connection,
        asked: (&Scripts, &Names),
    ) -> Result<Answer, RedisError> {
        Answer::in_time(connection, |waits_until| self.call(waits_until, asked)).await
    }

    fn call<'s>(
        &self,
        waits_until: i64,
        (scripts, names): (&'s Scripts, &Names),
    ) -> Result<ScriptInvocation<'s>, RedisError> {
        let mut call = scripts.erase.prepare_invoke();
        call.key(&names.records).key(&names.head).key(&names.changes);
        for name in self.windows.iter().flatten() {
            call.key(name);
        }
        call.arg(waits_until).arg(field_of(self.subject)).arg(field_of(self.alias));
        call.arg(text_of(self.left)?).arg(json(self.changed)?);
        call.arg(self.marks[0]).arg(self.marks[1]).arg(CHANGES_KEPT);
        Ok(call)
    }
}

/// Writes a window and its buckets, which may be none, under other names.
pub(super) async fn copy_window(
    connection: &mut Connection,
    [window, older]: [&String; 2],
    [text, buckets]: [&[u8]; 2],
    lasts: Duration,
) -> Result<(), RedisError> {
    let mut together = redis::pipe();
    together.atomic().cmd("SET").arg(window).arg(text).arg("PX").arg(millis(lasts)).ignore();
    if buckets.is_empty() {
        together.cmd("DEL").arg(older).ignore();
    } else {
        together.cmd("SET").arg(older).arg(buckets).arg("PX").arg(millis(lasts)).ignore();
    }
    together.query_async(connection).await
}

/// Closes a window that is as it was seen; false if it is not.
pub(super) async fn close_window(
    connection: &mut Connection,
    scripts: &Scripts,
    [window, older]: [&String; 2],
    seen: &[u8],
) -> Result<bool, RedisError> {
    let mut call = scripts.close.prepare_invoke();
    call.key(window).key(older).arg(seen).arg(&CLOSED[..]);
    Ok(Answer::of(call, connection).await?.state() == DONE)
}

/// Takes a closed window away.
pub(super) async fn drop_window(
    connection: &mut Connection,
    window: &String,
) -> Result<(), RedisError> {
    redis::cmd("DEL").arg(window).query_async(connection).await
}

/// A lease as it stands in Redis while it holds.
pub(super) struct Lease(String);

/// Takes or prolongs a lease; none if another node has it.
pub(super) async fn lease(
    connection: &mut Connection,
    (scripts, names): (&Scripts, &Names),
    (task, node): (&str, &str),
) -> Result<Option<Lease>, RedisError> {
    let mut call = scripts.lease.prepare_invoke();
    call.key(names.lease(task)).key(&names.leases);
    call.arg(node).arg(millis(LEASE_TIME));
    let answer = Answer::of(call, connection).await?;
    let number = answer.rest().first().filter(|_| answer.state() == DONE);
    Ok(number.map(|number| Lease(format!("{node}/{number}"))))
}

/// A part of what is written into a server without records.
#[derive(Clone, Copy)]
pub(super) enum Part<'a> {
    Begin,
    Some(&'a [Recorded]),
    End(Revision),
}

/// Writes a part; false if another node has taken that over.
pub(super) async fn restore(
    connection: &mut Connection,
    (scripts, names): (&Scripts, &Names),
    lease: &Lease,
    part: Part<'_>,
) -> Result<bool, RedisError> {
    let mut call: ScriptInvocation<'_> = scripts.restore.prepare_invoke();
    call.key(names.lease(RESTORE)).key(&names.records).key(&names.head).key(&names.changes);
    call.arg(&lease.0).arg(millis(LEASE_TIME));
    match part {
        Part::Begin => call.arg("begin"),
        Part::Some(_) => call.arg("go-on"),
        Part::End(revision) => call.arg(revision.to_string()),
    };
    let some = if let Part::Some(some) = part { some } else { &[] };
    for (subject, record) in some {
        call.arg(field_of(subject)).arg(text_of(record)?);
    }
    Ok(Answer::of(call, connection).await?.state() == DONE)
}

pub(super) fn field_of(subject: &SubjectId) -> String {
    let kind = match kind_of(subject) {
        SubjectKind::Accounts => ACCOUNT,
        SubjectKind::Tenants => TENANT,
    };
    format!("{kind}/{}", name_of(subject))
}

fn subject_of(field: &str) -> Result<SubjectId, StoreError> {
    let subject = match field.split_once('/') {
        Some((ACCOUNT, name)) => name.parse().map(SubjectId::Account).ok(),
        Some((TENANT, name)) => name.parse().map(SubjectId::Tenant).ok(),
        _ => None,
    };
    subject.ok_or_else(damaged)
}

/// A record as it stands there; nothing where it says nothing.
fn text_of(record: &SubjectRecord) -> Result<String, RedisError> {
    if *record == SubjectRecord::default() { Ok(String::new()) } else { json(record) }
}

pub(super) fn record_of(text: &[u8]) -> Result<SubjectRecord, StoreError> {
    if text.is_empty() {
        return Ok(SubjectRecord::default());
    }
    serde_json::from_slice(text).map_err(|_| damaged())
}

fn json(value: &impl serde::Serialize) -> Result<String, RedisError> {
    let failed = |_| RedisError::from((redis::ErrorKind::Client, "a record cannot be written"));
    serde_json::to_string(value).map_err(failed)
}

fn damaged() -> StoreError {
    StoreError::Damaged("a record in Redis cannot be read".into())
}

/// What a script has done what it was asked for says.
pub(super) const DONE: i64 = 0;
pub(super) const LATE: i64 = 1;
pub(super) const NO_RECORDS: i64 = 2;
/// A window of an account that is to be erased has open reservations.
pub(super) const BUSY: i64 = 4;
/// A window that is closed: of a version that there is not, so whatever would decide in it fails.
pub(super) const CLOSED: [u8; 42] = {
    let mut text = [0; 42];
    (text[0], text[1]) = (0xff, 0xff);
    text
};
/// The task of a lease for writing records into a server that has none.
pub(super) const RESTORE: &str = "restore";
/// In the names' hash tag. A tenant may have this name; its windows have other names behind it.
const TAG: &str = "records";
const ACCOUNT: &str = "account";
const TENANT: &str = "tenant";
/// Changes, or records, in one answer.
pub(super) const ENTRIES_MAX: usize = 200;
/// Changes that Redis keeps for nodes that are behind; a node that misses older ones reads all records anew.
const CHANGES_KEPT: usize = 10_000;
/// How long a node that does something for all may say nothing.
const LEASE_TIME: Duration = Duration::from_secs(10);
/// Entries that may be left of a stream that is cut: they are those of some seconds.
const LEFT_MAX: usize = 20_000;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::redis::calls::key_of;

    #[test]
    fn a_subject_is_read_as_it_was_written_and_its_place_is_no_window() {
        for subject in [
            SubjectId::Account("a/b@shop.example".parse().unwrap()),
            SubjectId::Tenant("records".parse().unwrap()),
        ] {
            assert_eq!(subject_of(&field_of(&subject)).unwrap(), subject);
        }
        for wrong in ["", "account", "account/", "peer/x", "account/a b"] {
            assert!(subject_of(wrong).is_err(), "{wrong:?}");
        }
        let Names { records, head, changes, leases, erasure_key } = Names::new("p");
        for name in [&records, &head, &changes, &leases, &erasure_key] {
            assert_eq!(key_of("p", name), None, "{name}");
        }
    }

    #[test]
    fn what_is_no_change_is_damaged() {
        let whole = [
            ("before", "6:1"),
            ("mark", "-9"),
            ("subject", "account/a@b"),
            ("record", ""),
            ("change", "{}"),
        ];
        let read = |id: &str, fields: &[(&str, &str)]| {
            let fields = fields.iter().map(|(name, value)| ((*name).into(), (*value).into()));
            Entry::read((id.into(), fields.collect())).map(|_| ())
        };
        for missing in 0..=whole.len() {
            let mut fields = whole.to_vec();
            if missing < whole.len() {
                fields.remove(missing);
            }
            let error = read("7-0", &fields).unwrap_err();
            assert!(matches!(error, StoreError::Damaged(_)), "{missing}: {error}");
        }
        assert!(matches!(read("7-1", &whole), Err(StoreError::Damaged(_))));
    }
}
