//! A report of abuse (RFC 5965) as any program may write it: what is read of it is bounded, and the host that asks decides only which
//! ids are its own.

#![no_main]

use libfuzzer_sys::fuzz_target;
use tollgate::{message::feedback, types::Domain};

fuzz_target!(|octets: &[u8]| {
    let hostname: Domain = HOSTNAME.parse().expect("a name");
    let Ok(found) = feedback(octets, &hostname) else { return };
    assert!(found.recipients.len() <= 20 && found.transactions.len() <= 10 && found.incidents >= 1);
    assert!(found.user_agent.is_none_or(|text| text.chars().count() <= 200));
    let stranger: Domain = "another.example".parse().expect("a name");
    let others = feedback(octets, &stranger).expect("it is the same report");
    assert_eq!((others.kind, &others.recipients), (found.kind, &found.recipients));
});

const HOSTNAME: &str = "gate.provider.example";
