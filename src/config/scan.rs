//! Written → checked: other programs that look into texts.

use super::{
    checker::At,
    written::{Scan, ScanClamav, ScanRspamd, Section},
};
use crate::{
    rules::scan::{OnFailure, ScanPolicy},
    scan::{Settings, clamav, rspamd},
    types::{ByteCount, Span},
};
use std::ops::RangeInclusive;

pub(super) fn check(root: &mut At<'_>, section: &Section<Scan>) -> Settings {
    let mut at = root.inside("scan");
    let s = at.open(section);
    let (bytes, count) = (ByteCount::new(10 << 20), 16);
    let bytes_range = ByteCount::new(1 << 10)..=ByteCount::new(256 << 20);
    let bytes_max = at.within("bytes_max", &s.bytes_max, bytes, bytes_range).in_memory();
    let concurrent_max = at.within("concurrent_max", &s.concurrent_max, count, 1..=4_096);
    let (rspamd, rspamd_refuses, rspamd_failure) = check_rspamd(&mut at, &s.rspamd);
    let (clamav, clamav_failure) = check_clamav(&mut at, &s.clamav);
    Settings {
        bytes_max,
        concurrent_max: usize::try_from(concurrent_max).unwrap_or(usize::MAX),
        rspamd,
        clamav,
        policy: ScanPolicy { rspamd_refuses, rspamd_failure, clamav_failure },
    }
}

fn check_rspamd(
    at: &mut At<'_>,
    section: &Section<ScanRspamd>,
) -> (Option<rspamd::Settings>, bool, OnFailure) {
    let mut at = at.inside("rspamd");
    let s = at.open(section);
    let timeout = at.within("timeout", &s.timeout, TIMEOUT, TIMEOUTS).length();
    let tls_ca = at.value("tls_ca", &s.tls_ca);
    let refuse = at.or("refuse", &s.refuse, true);
    let on_failure = at.or("on_failure", &s.on_failure, OnFailure::Pass);
    let url = at.value("url", &s.url).map(|parsed| parsed.0);
    (url.map(|url| rspamd::Settings { url, tls_ca, timeout }), refuse, on_failure)
}

fn check_clamav(
    at: &mut At<'_>,
    section: &Section<ScanClamav>,
) -> (Option<clamav::Settings>, OnFailure) {
    let mut at = at.inside("clamav");
    let s = at.open(section);
    let timeout = at.within("timeout", &s.timeout, TIMEOUT, TIMEOUTS).length();
    let on_failure = at.or("on_failure", &s.on_failure, OnFailure::Pass);
    let place = at.value("socket", &s.socket).map(|parsed| parsed.0);
    (place.map(|place| clamav::Settings { place, timeout }), on_failure)
}

const TIMEOUT: Span = Span::from_secs(10);
/// A client waits up to 10 minutes for the answer to its text (RFC 5321 §4.5.3.2.6), and the next hop takes its time too.
const TIMEOUTS: RangeInclusive<Span> = Span::from_secs(1)..=Span::from_secs(60);
