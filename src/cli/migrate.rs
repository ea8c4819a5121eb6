//! `tollgate migrate`.

use super::{
    CliError,
    args::{Gate, MigrateArgs, Place},
    backup, links,
    remote::Remote,
    table::Table,
};
use crate::admin::{self, Migration, MovedView, Way};

/// `tollgate migrate …`
pub(super) fn migrate(wanted: &MigrateArgs, gate: &Gate) -> Result<(), CliError> {
    let way = match (wanted.from, wanted.to) {
        (Place::Sqlite, Place::Redis) => Way::ToRedis,
        (Place::Redis, Place::Sqlite) => Way::ToSqlite,
        _ => return Err(CliError::Usage("--from and --to are the same".into())),
    };
    let (files, redis) = links::files_and_redis(backup::config_of(gate)?)?;
    let again = wanted.again;
    let migration =
        Migration { files: &files, redis, way, again, reason: wanted.reason.as_deref() };
    let moved = backup::wait(admin::migrate(migration, &backup::actor()))?;
    Remote::new(gate)?.print(&moved, text_of)
}

fn text_of(moved: &MovedView) -> String {
    let mut facts = Table::plain();
    if moved.continued {
        facts.row(["continued".into(), "where the last attempt had ended".into()]);
    }
    facts.row(["windows".into(), format!("{} to {}", moved.windows, moved.to)]);
    facts.row(["charges".into(), moved.charges.to_string()]);
    facts.row(["records".into(), format!("{} added or added to", moved.records)]);
    if moved.erased_left > 0 {
        let text = format!("{} windows of erased accounts stay behind", moved.erased_left);
        facts.row(["not moved".into(), text]);
    }
    for key in &moved.damaged {
        facts.row(["damaged".into(), key.clone()]);
    }
    facts.render("")
}
