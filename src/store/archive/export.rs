//! All that is stored about an account or a tenant, as JSON, table by table and row by row, so that no more than a row is in memory.

use super::{names, schema, stored};
use crate::{
    store::{StoreError, backup::hexadecimal, sqlite::schema::failed},
    types::{SubjectId, Timestamp},
};
use rusqlite::{Row, types::ValueRef};
use serde_json::{Map, Value};
use std::{io::Write, path::Path};

/// Which stretch of time is wanted; none: all.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stretch {
    /// From then on.
    pub since: Timestamp,
    /// Before then.
    pub until: Timestamp,
}

/// Writes what the archive has about a subject: an object with a list of rows for each table.
///
/// # Errors
/// [`StoreError`] if the archive cannot be read, or the output cannot be written.
pub fn export(
    path: &Path,
    subject: &SubjectId,
    stretch: Option<Stretch>,
    out: &mut dyn Write,
) -> Result<(), StoreError> {
    let db = schema::open_reader(path)?;
    let snapshot = db.unchecked_transaction().map_err(failed)?;
    let number = names::find(&db, subject).map_err(failed)?.unwrap_or(NOBODY);
    write(out, "{")?;
    for (place, source) in SOURCES.iter().enumerate() {
        let comma = if place == 0 { "" } else { "," };
        write(out, &format!("{comma}\n  \"{}\": [", source.table))?;
        let mut is_first = true;
        let sql = source.sql(subject, stretch);
        let mut select = db.prepare(&sql).map_err(failed)?;
        let names: Vec<String> = select.column_names().map(ToOwned::to_owned).collect();
        let mut rows = select.raw_query_with(number, subject).map_err(failed)?;
        while let Some(row) = rows.next().map_err(failed)? {
            let object = object(&names, row).map_err(failed)?;
            let comma = if is_first { "" } else { "," };
            write(out, &format!("{comma}\n    {object}"))?;
            is_first = false;
        }
        write(out, "]")?;
    }
    write(out, "\n}")?;
    snapshot.finish().map_err(failed)
}

trait QueryOfSubject {
    fn raw_query_with(
        &mut self,
        number: i64,
        subject: &SubjectId,
    ) -> rusqlite::Result<rusqlite::Rows<'_>>;
}

impl QueryOfSubject for rusqlite::Statement<'_> {
    /// A statement asks by the number, or by the name.
    fn raw_query_with(
        &mut self,
        number: i64,
        subject: &SubjectId,
    ) -> rusqlite::Result<rusqlite::Rows<'_>> {
        let name = match subject {
            SubjectId::Account(account) => format!("account/{account}"),
            SubjectId::Tenant(tenant) => format!("tenant/{tenant}"),
        };
        match self.parameter_index(":name")? {
            Some(_) => self.query(&[(":name", &name)][..]),
            None => self.query(&[(":number", &number)][..]),
        }
    }
}

/// Where rows about a subject are.
struct Source {
    table: &'static str,
    /// Which rows, of an account and of a tenant.
    of_account: &'static str,
    of_tenant: &'static str,
    /// The column with the moment, in milliseconds; none: the stretch of time is no matter.
    moment: Option<&'static str>,
}

impl Source {
    fn sql(&self, subject: &SubjectId, stretch: Option<Stretch>) -> String {
        let which = match subject {
            SubjectId::Account(_) => self.of_account,
            SubjectId::Tenant(_) => self.of_tenant,
        };
        let when = match (self.moment, stretch) {
            (Some(column), Some(Stretch { since, until })) => {
                format!(" AND {column} >= {} AND {column} < {}", stored(since), stored(until))
            }
            _ => String::new(),
        };
        let from = match self.table {
            "audit" => AUDIT,
            other => other,
        };
        format!("SELECT * FROM {from} WHERE {which}{when}")
    }
}

/// An entry of the audit with its values.
const AUDIT: &str = "(SELECT audit.number, at, action, via, tenant, account, \
    (SELECT value FROM audit_values AS v WHERE v.number = audit.number AND field = 0) AS subject, \
    (SELECT value FROM audit_values AS v WHERE v.number = audit.number AND field = 2) AS before, \
    (SELECT value FROM audit_values AS v WHERE v.number = audit.number AND field = 3) AS after, \
    (SELECT value FROM audit_values AS v WHERE v.number = audit.number AND field = 4) AS reason, \
    (SELECT value FROM audit_values AS v WHERE v.number = audit.number AND field = 5) AS evidence \
    FROM audit JOIN audit_about USING (number))";

const fn own(table: &'static str, moment: Option<&'static str>) -> Source {
    Source { table, of_account: "account = :number", of_tenant: "tenant = :number", moment }
}

const fn of_subject(table: &'static str, moment: Option<&'static str>) -> Source {
    Source { table, of_account: "subject = :number", of_tenant: "subject = :number", moment }
}

/// Every table that has anything about accounts or tenants.
const SOURCES: [Source; 20] = [
    own("events", Some("at")),
    own("alerts", None),
    own("complaints", Some("at")),
    own("audit", Some("at")),
    own("offences", Some("at")),
    own("usage_hours", None),
    own("usage_days", None),
    own("usage_months", None),
    own("usage_reasons", None),
    own("usage_days_sets", None),
    own("usage_months_sets", None),
    own("egress_hours", None),
    of_subject("storage", None),
    of_subject("storage_days", None),
    of_subject("suspensions", Some("since")),
    of_subject("closings", None),
    of_subject("holds", None),
    Source { table: "memory", of_account: "name = :name", of_tenant: "name = :name", moment: None },
    Source {
        table: "report_letters",
        of_account: "tenant = :number AND 0",
        of_tenant: "tenant = :number",
        moment: None,
    },
    Source {
        table: "tokens",
        of_account: "tenant = :number AND 0",
        of_tenant: "tenant = :number",
        moment: None,
    },
];

fn object(names: &[String], row: &Row<'_>) -> rusqlite::Result<Value> {
    let mut object = Map::new();
    for (place, name) in names.iter().enumerate() {
        // Who asks about a token gets no digest of it.
        if name == "digest" {
            continue;
        }
        let value = match row.get_ref(place)? {
            ValueRef::Null => Value::Null,
            ValueRef::Integer(number) => number.into(),
            ValueRef::Real(number) => number.into(),
            ValueRef::Text(text) => {
                let text = String::from_utf8_lossy(text);
                match serde_json::from_str(&text) {
                    Ok(found @ (Value::Object(_) | Value::Array(_))) => found,
                    _ => text.into_owned().into(),
                }
            }
            ValueRef::Blob(octets) => hexadecimal(octets).into(),
        };
        object.insert(name.clone(), value);
    }
    Ok(object.into())
}

fn write(out: &mut dyn Write, text: &str) -> Result<(), StoreError> {
    out.write_all(text.as_bytes()).map_err(|error| StoreError::Unavailable(error.to_string()))
}

/// No number of anybody.
const NOBODY: i64 = -1;
