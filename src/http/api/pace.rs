//! How fast requests may come: those of one token, and those without a valid one from one address.
//!
//! governor paces (a burst of a minute's worth, then evenly). Whoever has a valid token is never put off by failures: behind
//! one address may be many, and a secret of 256 bits cannot be found by trying.

use super::super::problem::Problem;
use crate::{
    admin::Caller,
    config::PaceRules,
    types::{ClientIp, IpPrefix},
};
use axum::http::StatusCode;
use governor::{DefaultKeyedRateLimiter, Quota, RateLimiter};
use std::{hash::Hash, num::NonZeroU32};

/// Keeps the pace.
pub(super) struct Pace {
    tokens: Limiter<i64>,
    failures: Limiter<IpPrefix>,
}

impl Pace {
    pub(super) fn new(rules: PaceRules) -> Self {
        Self {
            tokens: Limiter::new(rules.per_token_minute),
            failures: Limiter::new(rules.failures_per_minute),
        }
    }

    pub(super) fn admit(&self, caller: &Caller) -> Result<(), Problem> {
        self.tokens.admit(&caller.id, "this token asks too often")
    }

    pub(super) fn note_failure(&self, client: ClientIp) -> Result<(), Problem> {
        self.failures.admit(&client.prefix(IPV6_BITS), "too many requests without a valid token")
    }
}

struct Limiter<K: Hash + Eq + Clone> {
    governor: DefaultKeyedRateLimiter<K>,
    quota: Quota,
}

impl<K: Hash + Eq + Clone> Limiter<K> {
    fn new(per_minute: NonZeroU32) -> Self {
        let quota = Quota::per_minute(per_minute);
        Self { governor: RateLimiter::keyed(quota), quota }
    }

    fn admit(&self, key: &K, detail: &'static str) -> Result<(), Problem> {
        if self.has_room() && self.governor.check_key(key).is_ok() {
            return Ok(());
        }
        let wait = self.quota.replenish_interval().as_secs() + 1;
        Err(Problem::new(StatusCode::TOO_MANY_REQUESTS, detail).retry_after(wait))
    }

    /// Keys whose pace is as good as unused go before the table is full.
    fn has_room(&self) -> bool {
        if self.governor.len() >= KEYS_MAX {
            self.governor.retain_recent();
        }
        self.governor.len() < KEYS_MAX
    }
}

/// Tokens, or networks, that are paced at a time. Beyond it nobody new is answered anything but 429.
const KEYS_MAX: usize = 10_000;
/// What counts as one client among IPv6 addresses.
const IPV6_BITS: u8 = 64;

#[cfg(test)]
mod tests {
    use super::*;
    use axum::response::IntoResponse as _;

    fn pace(per_minute: u32) -> Limiter<usize> {
        Limiter::new(NonZeroU32::new(per_minute).unwrap())
    }

    #[test]
    fn each_key_has_its_own_pace() {
        let pace = pace(3);
        for _ in 0..3 {
            assert!(pace.admit(&1, "").is_ok());
        }
        let problem = pace.admit(&1, "slowly").unwrap_err().into_response();
        assert_eq!(problem.status().as_u16(), 429);
        assert_eq!(problem.headers()["retry-after"], "21");
        assert!(pace.admit(&2, "").is_ok());
    }

    #[test]
    fn the_table_is_bounded() {
        let pace = pace(1);
        let admitted = (0..KEYS_MAX * 2).filter(|key| pace.admit(key, "").is_ok()).count();
        assert_eq!((admitted, pace.governor.len()), (KEYS_MAX, KEYS_MAX));
    }
}
