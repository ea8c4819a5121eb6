//! Written → checked: where the figures of mailboxes come from.

use super::{
    checker::At,
    next_hop::read_secret,
    written::{Hidden, Key, Section, Storage, StorageDoveadm},
};
use crate::{
    admin::{SourceSettings, StorageSettings},
    mailbox::{Credential, DoveadmSettings},
    types::{Secret, Span},
};
use std::{ops::RangeInclusive, path::PathBuf};

pub(super) fn check(root: &mut At<'_>, section: &Section<Storage>) -> StorageSettings {
    let mut at = root.inside("storage");
    let s = at.open(section);
    let threads = usize::from(at.within("threads", &s.threads, 2, 1..=64));
    let path = at.value("path", &s.path).map(|parsed| parsed.0);
    let doveadm = check_doveadm(&mut at.inside("doveadm"), &s.doveadm);
    if path.is_some() && doveadm.is_some() {
        at.wrong("path", "doveadm.url is set, too; figures come from one place");
    }
    let every = at.within("every", &s.every, EVERY, ROUNDS);
    let usual = Span::new(every.length() * STALE_ROUNDS);
    let stale_after = at.within("stale_after", &s.stale_after, usual, every..=STALE_MAX);
    StorageSettings {
        source: match (path, doveadm) {
            (Some(template), _) => SourceSettings::Maildirs(template, threads),
            (None, Some(settings)) => SourceSettings::Doveadm(settings),
            (None, None) => SourceSettings::Told,
        },
        every: every.length(),
        stale_after: stale_after.length(),
        files_max: at.within("files_max", &s.files_max, FILES_MAX, 1..=1 << 50),
    }
}

fn check_doveadm(at: &mut At<'_>, section: &Section<StorageDoveadm>) -> Option<DoveadmSettings> {
    let s = at.open(section);
    let timeout = at.within("timeout", &s.timeout, TIMEOUT, TIMEOUTS).length();
    let tls_ca = at.value("tls_ca", &s.tls_ca);
    let key = check_secret(at, ("key", &s.key), ("key_file", &s.key_file));
    let password = check_secret(at, ("password", &s.password), ("password_file", &s.password_file));
    let url = at.value("url", &s.url).map(|parsed| parsed.0)?;
    let credential = match (key, password) {
        (Some(key), None) => Credential::Key(key),
        (None, Some(password)) => Credential::Password(password),
        _ => {
            at.wrong(
                "url",
                "wanted either key_file (doveadm_api_key) or password_file (doveadm_password)",
            );
            return None;
        }
    };
    Some(DoveadmSettings { url, credential, tls_ca, timeout })
}

fn check_secret(
    at: &mut At<'_>,
    (key, given): (&str, &Key<Hidden>),
    (file_key, file): (&str, &Key<PathBuf>),
) -> Option<Secret> {
    let secret = at.value(key, given).map(|hidden| hidden.0);
    let secret = match (secret, at.value(file_key, file)) {
        (Some(_), Some(_)) => {
            at.wrong(file_key, format!("{key} is set, too; one of the two"));
            None
        }
        (None, Some(file)) => read_secret(at, file_key, &file),
        (secret, None) => secret,
    };
    if secret.as_ref().is_some_and(|secret| secret.expose().is_empty()) {
        at.wrong(key, "is empty");
    }
    secret
}

const EVERY: Span = Span::from_secs(15 * 60);
const ROUNDS: RangeInclusive<Span> = Span::from_secs(1)..=Span::from_secs(24 * 3_600);
/// Rounds that may fail before a figure is old.
const STALE_ROUNDS: u32 = 4;
const STALE_MAX: Span = Span::from_secs(30 * 24 * 3_600);
/// Where providers' backups end.
const FILES_MAX: u64 = 250_000;
const TIMEOUT: Span = Span::from_secs(10);
const TIMEOUTS: RangeInclusive<Span> = Span::from_secs(1)..=Span::from_secs(60);
