//! The sending limits of a replay: the real sliding windows, on virtual time.

use crate::{
    rules::{
        limits::ScopedLimit,
        suspension::reduced,
        window::{self, Log, Question},
    },
    types::{AccountId, IpPrefix, Key, Limit, Scope, Span, SubjectId, TenantId, Timestamp, Unit},
};
use std::{collections::HashMap, time::Duration};

/// Whose windows a message is charged to, and what is left of each limit in percent.
#[derive(Debug, Clone, Copy)]
pub(super) struct Payers<'a> {
    pub(super) account: (&'a AccountId, u32),
    pub(super) tenant: (&'a TenantId, u32),
    pub(super) client: Option<(IpPrefix, u32)>,
    pub(super) is_null_sender: bool,
}

/// All windows.
#[derive(Debug)]
pub(super) struct Windows {
    limits: Vec<ScopedLimit>,
    history: Duration,
    logs: HashMap<Key, Log>,
}

/// The windows of one message.
pub(super) struct Wanted {
    key: Key,
    unit: Unit,
    limits: Vec<Limit>,
}

impl Windows {
    pub(super) fn new(limits: Vec<ScopedLimit>) -> Self {
        let longest = limits.iter().map(|line| line.limit.window).max();
        let history = longest.unwrap_or(Span::from_secs(1)).length();
        Self { limits, history, logs: HashMap::new() }
    }

    /// The windows that a message is charged to.
    pub(super) fn wanted(&self, payers: Payers<'_>) -> Vec<Wanted> {
        let (account, tenant) = (payers.account, payers.tenant);
        let own = [Unit::NullSender, Unit::Recipients, Unit::Messages].into_iter().filter(|unit| {
            let has_own_limit = payers.is_null_sender && self.has(Scope::Account, Unit::NullSender);
            has_own_limit == (*unit == Unit::NullSender)
        });
        let account_id = SubjectId::Account(account.0.clone());
        let of_account =
            own.map(|unit| (Key::of_subject(&account_id, unit), unit, Scope::Account, account.1));
        let tenant_id = SubjectId::Tenant(tenant.0.clone());
        let shared = [Unit::Recipients, Unit::Messages];
        let of_tenant =
            shared.map(|unit| (Key::of_subject(&tenant_id, unit), unit, Scope::Tenant, tenant.1));
        let of_client = payers.client.into_iter().flat_map(|(prefix, percent)| {
            shared.map(|unit| (Key::of_client(prefix, unit), unit, Scope::ClientIp, percent))
        });
        of_account
            .chain(of_tenant)
            .chain(of_client)
            .map(|(key, unit, scope, percent)| Wanted {
                key,
                unit,
                limits: self.limits_of(scope, unit, percent),
            })
            .filter(|wanted| !wanted.limits.is_empty())
            .collect()
    }

    /// True if one more recipient fits, beside those of the message that were granted already.
    pub(super) fn admits(&self, wanted: &[Wanted], granted: u32, now: Timestamp) -> bool {
        wanted.iter().all(|wanted| {
            let open = match wanted.unit {
                Unit::Messages if granted > 0 => return true,
                Unit::Messages => 0,
                _ => granted,
            };
            let empty = Log::default();
            let log = self.logs.get(&wanted.key).unwrap_or(&empty);
            let question = Question { open, wanted: 1, now };
            wanted.limits.iter().all(|&limit| window::admit(log, limit, question))
        })
    }

    /// Charges what the next hop took.
    pub(super) fn charge(&mut self, wanted: Vec<Wanted>, recipients: u32, now: Timestamp) {
        for wanted in wanted {
            let charges =
                if wanted.unit == Unit::Messages { recipients.min(1) } else { recipients };
            if charges > 0 {
                let log = self.logs.entry(wanted.key).or_default();
                log.record(charges, window::stamp_of(now), now, self.history);
            }
        }
    }

    fn has(&self, scope: Scope, unit: Unit) -> bool {
        self.limits.iter().any(|line| line.scope == scope && line.unit == unit)
    }

    fn limits_of(&self, scope: Scope, unit: Unit, percent: u32) -> Vec<Limit> {
        let own = self.limits.iter().filter(|line| line.scope == scope && line.unit == unit);
        own.map(|line| reduced(line.limit, percent)).collect()
    }
}
