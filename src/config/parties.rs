//! Written → checked: plans, limits and the trust table.

use super::{
    checker::At,
    written::{
        File, Key, Limits, NullSender, Plan as WrittenPlan, PlanLimit, PlanStorage, Section, Trust,
        TrustLimit,
    },
};
use crate::{
    event::Evidence,
    rules::policy::UnknownAccounts,
    rules::{
        identity::TrustRow,
        limits::{self, Plan, ScopedLimit},
        quota::{Over, Quotas},
    },
    types::{ByteCount, Limit, PlanName, Scope, Span, Unit},
};
use ipnet::IpNet;
use std::{collections::HashMap, sync::Arc, time::Duration};

/// Who sends, and how much.
pub(super) struct Parties {
    pub(super) plans: HashMap<PlanName, Arc<Plan>>,
    pub(super) default_plan: PlanName,
    pub(super) unknown_accounts: UnknownAccounts,
    pub(super) new_accounts_per_hour: u32,
    pub(super) ipv6_prefix_bits: u8,
    pub(super) history: Duration,
    pub(super) unknown_margin: Duration,
    pub(super) trust: Vec<Arc<TrustRow>>,
}

/// Checks `[limits]`, `[plan.…]` and `[[trust]]`.
pub(super) fn check(root: &mut At<'_>, file: &File, message_bytes_max: u64) -> Parties {
    let plans = check_plans(root, file, message_bytes_max);
    let trust = check_trust(root, file);
    let limits = plans.values().flat_map(|plan| &plan.limits);
    let limits = limits.chain(trust.iter().flat_map(|row| &row.limits));
    let longest = limits.map(|scoped| scoped.limit.window).max();
    let mut at = root.inside("limits");
    let s = at.open(&file.limits);
    Parties {
        default_plan: check_default_plan(&mut at, s, &plans),
        unknown_accounts: at.or(
            "unknown_accounts",
            &s.unknown_accounts,
            UnknownAccounts::default(),
        ),
        new_accounts_per_hour: at.or("new_accounts_per_hour", &s.new_accounts_per_hour, 100),
        ipv6_prefix_bits: at.within("ipv6_prefix_bits", &s.ipv6_prefix_bits, 64, 16..=128),
        history: check_history(&mut at, s, longest),
        unknown_margin: at
            .within("unknown_margin", &s.unknown_margin, Span::from_secs(600), MARGINS)
            .length(),
        plans,
        trust,
    }
}

fn check_default_plan(
    at: &mut At<'_>,
    s: &Limits,
    plans: &HashMap<PlanName, Arc<Plan>>,
) -> PlanName {
    let name =
        at.required("default_plan", &s.default_plan, "the plan of accounts that have no other");
    let Some(name) = name else {
        return "none".parse().expect("a short word is a plan's name");
    };
    if !plans.contains_key(&name) {
        at.wrong("default_plan", format!("there is no [plan.{name}]"));
    }
    name
}

/// The longest window, at least a day; what is written may be longer but not shorter.
fn check_history(at: &mut At<'_>, s: &Limits, longest: Option<Span>) -> Duration {
    let least = longest.unwrap_or(DAY).max(DAY);
    at.within("history", &s.history, least, least..=WINDOW_MAX.max(least)).length()
}

fn check_plans(
    root: &mut At<'_>,
    file: &File,
    message_bytes_max: u64,
) -> HashMap<PlanName, Arc<Plan>> {
    let mut plans = HashMap::new();
    for (name, section) in root.value_ref("plan", &file.plan).into_iter().flatten() {
        let mut at = root.inside(&format!("plan.{name}"));
        let plan = check_plan(&mut at, section, message_bytes_max);
        match name.parse::<PlanName>() {
            Ok(name) => drop(plans.insert(name.clone(), Arc::new(plan(name)))),
            Err(error) => at.note(error.to_string()),
        }
    }
    plans
}

fn check_plan(
    at: &mut At<'_>,
    section: &Section<WrittenPlan>,
    message_bytes_max: u64,
) -> impl FnOnce(PlanName) -> Plan + use<> {
    let s = at.open(section);
    let mut limits: Vec<ScopedLimit> = Vec::new();
    for (number, line) in at.tables("limits", &s.limits).iter().enumerate() {
        let mut at = at.inside(&format!("limits[{number}]"));
        let Some(limit) = check_plan_limit(&mut at, line) else { continue };
        add_limit(&mut at, &mut limits, limit);
    }
    limits.push(check_null_sender(&mut at.inside("null_sender"), &s.null_sender));
    let sizes = ByteCount::new(1024)..=ByteCount::new(message_bytes_max.max(1024));
    let default = ByteCount::new(message_bytes_max);
    let bytes = at.within("message_bytes_max", &s.message_bytes_max, default, sizes).octets();
    let mode = at.or("mode", &s.mode, Default::default());
    let php_mail = at.or("php_mail", &s.php_mail, Default::default());
    let storage = check_storage(&mut at.inside("storage"), &s.storage);
    move |name| Plan { name, limits, mode, php_mail, message_bytes_max: bytes, storage }
}

fn check_storage(at: &mut At<'_>, section: &Section<PlanStorage>) -> Quotas {
    let s = at.open(section);
    let quota = |at: &mut At<'_>, key: &str, given| {
        let bytes = at.value(key, given)?;
        at.in_range(key, bytes, STORED).map(ByteCount::octets)
    };
    Quotas {
        tenant_bytes_max: quota(at, "tenant_bytes_max", &s.tenant_bytes_max),
        account_bytes_max: quota(at, "account_bytes_max", &s.account_bytes_max),
        over: at.or("over", &s.over, Over::default()),
    }
}

fn check_plan_limit(at: &mut At<'_>, section: &Section<PlanLimit>) -> Option<ScopedLimit> {
    let s = at.open(section);
    let scope = at.required("scope", &s.scope, "\"tenant\", \"account\" or \"client-ip\"");
    let unit = at.or("unit", &s.unit, Unit::Recipients);
    let limit = check_limit(at, &s.max, &s.window);
    if scope == Some(Scope::Peer) {
        at.wrong("scope", "a trusted server's limits stand in its [[trust]] row");
    }
    if !matches!(unit, Unit::Recipients | Unit::Messages) {
        at.wrong("unit", "wanted \"recipients\" or \"messages\"; null senders have null_sender");
    }
    Some(ScopedLimit { scope: scope?, unit, limit: limit? })
}

fn check_limit(at: &mut At<'_>, max: &Key<u32>, window: &Key<Span>) -> Option<Limit> {
    let max = at.required("max", max, "how many, 0 for none at all");
    let window = at.required("window", window, "a length of time such as \"1h\"")?;
    Some(Limit { window: at.in_range("window", window, WINDOWS)?, max: max? })
}

/// A second limit for the same window would make the first one pointless.
fn add_limit(at: &mut At<'_>, limits: &mut Vec<ScopedLimit>, new: ScopedLimit) {
    let key = |l: &ScopedLimit| (l.scope, l.unit, l.limit.window);
    if limits.iter().any(|old| key(old) == key(&new)) {
        let (scope, unit, window) = key(&new);
        at.note(format!(
            "there is a limit of {unit} for scope {scope} and window {window} already"
        ));
        return;
    }
    limits.push(new);
}

fn check_null_sender(at: &mut At<'_>, section: &Section<NullSender>) -> ScopedLimit {
    let s = at.open(section);
    let max = at.or("max", &s.max, 50);
    let window = at.within("window", &s.window, HOUR, WINDOWS);
    ScopedLimit { scope: Scope::Account, unit: Unit::NullSender, limit: Limit { window, max } }
}

fn check_trust(root: &mut At<'_>, file: &File) -> Vec<Arc<TrustRow>> {
    let mut rows: Vec<Arc<TrustRow>> = Vec::new();
    for (number, section) in root.tables("trust", &file.trust).iter().enumerate() {
        let mut at = root.inside(&format!("trust[{number}]"));
        let Some(row) = check_row(&mut at, section) else { continue };
        let same = |old: &Arc<TrustRow>| old.name.as_str().eq_ignore_ascii_case(row.name.as_str());
        if rows.iter().any(same) {
            at.wrong("name", format!("there is a row named \"{}\" already", row.name));
        }
        rows.push(Arc::new(row));
    }
    rows
}

fn check_row(at: &mut At<'_>, section: &Section<Trust>) -> Option<TrustRow> {
    let s = at.open(section);
    let name = at.required("name", &s.name, "a short name such as \"web01\"");
    let networks = at.or("networks", &s.networks, Vec::new());
    let row = TrustRow {
        networks: networks.into_iter().map(|network| network.0.trunc()).collect(),
        login: at.value("login", &s.login),
        certificate: at.value("certificate", &s.certificate),
        certificate_name: at.value("certificate_name", &s.certificate_name).map(|name| name.0),
        relay: at.or("relay", &s.relay, false),
        xclient: at.or("xclient", &s.xclient, false),
        xforward: at.or("xforward", &s.xforward, false),
        proxy: at.or("proxy", &s.proxy, false),
        mail_auth: at.or("mail_auth", &s.mail_auth, false),
        identity_headers: at.or("identity_headers", &s.identity_headers, Vec::new()),
        limits: check_row_limits(at, s),
        own_server: at.or("own_server", &s.own_server, true),
        name: name?,
    };
    check_row_as_a_whole(at, &row);
    Some(row)
}

fn check_row_as_a_whole(at: &mut At<'_>, row: &TrustRow) {
    if row.name.as_str().contains(['.', ':']) {
        at.wrong("name", "a name has no dot and no colon, so that 1042@name is no mail address");
    }
    if row.networks.is_empty() && row.holds_by_address() {
        at.note(
            "wanted networks, a login or a certificate: a row without any would hold for everyone",
        );
    }
    if let Some(network) = row.networks.iter().find(|n| row.holds_by_address() && is_too_wide(n)) {
        let detail = format!("{network} is too wide to be trusted by address alone");
        at.wrong("networks", detail);
    }
    for (key, is_set) in
        [("xclient", row.xclient), ("xforward", row.xforward), ("proxy", row.proxy)]
    {
        if is_set && !row.holds_by_address() {
            at.wrong(
                key,
                "this right goes by the address of the TCP peer; a row with a login or a certificate cannot give it",
            );
        }
    }
    if let Some(evidence) = row.identity_headers.iter().find(|evidence| !evidence.is_in_header()) {
        at.wrong("identity_headers", format!("\"{evidence}\" does not stand in a header"));
    }
}

/// A network that no provider owns as a whole.
fn is_too_wide(network: &IpNet) -> bool {
    match network {
        IpNet::V4(four) => four.prefix_len() < 8,
        IpNet::V6(six) => six.prefix_len() < 16,
    }
}

fn check_row_limits(at: &mut At<'_>, s: &Trust) -> Vec<ScopedLimit> {
    let mut limits = Vec::new();
    for (number, line) in at.tables("limits", &s.limits).iter().enumerate() {
        let mut at = at.inside(&format!("limits[{number}]"));
        let Some(limit) = check_row_limit(&mut at, line) else { continue };
        add_limit(&mut at, &mut limits, limit);
    }
    if s.limits.is_none() {
        let limit = Limit { window: HOUR, max: PEER_PER_HOUR };
        limits.push(ScopedLimit { scope: Scope::Peer, unit: Unit::Recipients, limit });
    }
    limits
}

fn check_row_limit(at: &mut At<'_>, section: &Section<TrustLimit>) -> Option<ScopedLimit> {
    let s = at.open(section);
    let unit = at.or("unit", &s.unit, Unit::Recipients);
    let limit = check_limit(at, &s.max, &s.window);
    if unit == Unit::NullSender {
        at.wrong("unit", "wanted \"recipients\", \"messages\" or \"new-accounts\"");
    }
    Some(ScopedLimit { scope: Scope::Peer, unit, limit: limit? })
}

/// The evidence that a row grants by its headers, in the order of the listeners' default list.
pub(super) const HEADER_EVIDENCE: [Evidence; 5] = [
    Evidence::XAuthUser,
    Evidence::XAuthenticatedSender,
    Evidence::ReceivedAuth,
    Evidence::ReceivedUserid,
    Evidence::PhpScript,
];

const HOUR: Span = Span::from_secs(3600);
const DAY: Span = Span::from_secs(24 * 3600);
const WINDOW_MAX: Span = Span::new(limits::WINDOW_MAX);
const WINDOWS: std::ops::RangeInclusive<Span> = Span::new(limits::WINDOW_MIN)..=WINDOW_MAX;
const MARGINS: std::ops::RangeInclusive<Span> = Span::from_secs(0)..=DAY;
/// What mailboxes may hold: up to a million terabytes.
const STORED: std::ops::RangeInclusive<ByteCount> = ByteCount::new(1)..=ByteCount::new(1 << 60);
/// A trusted server's own limit, where its row has none.
const PEER_PER_HOUR: u32 = 500;
