//! AUTH exchanges. They end after few lines; a login that is asked about has a name without control characters and a password
//! without NUL, neither empty nor beyond the maximum; `*` cancels wherever it comes; what SCRAM signs is what was said.

#![no_main]

use libfuzzer_sys::fuzz_target;
use tollgate::smtp::{
    sasl::{CREDENTIAL_BYTES_MAX, Exchange, SaslError, Step, begin, challenge_scram, prove_scram},
    scram::{ClientFirst, KEY_BYTES, ScramParameters},
    server::{Credential, LoginRequest, Mechanism},
};

fuzz_target!(|input: (u8, bool, &str)| {
    let (mechanism, has_initial, text) = input;
    let mechanism = Mechanism::ALL[usize::from(mechanism) % Mechanism::ALL.len()];
    let mut lines = text.split('\n');
    let initial = if has_initial { lines.next() } else { None };
    let mut step = begin(mechanism, initial);
    let mut proven = false;
    for round in 0.. {
        assert!(round <= 6, "an exchange that does not end");
        step = match step {
            Step::Challenge(exchange, challenge) => {
                assert!(challenge.bytes().all(|byte| byte.is_ascii_graphic()), "{challenge}");
                let Some(line) = lines.next() else { return };
                respond(exchange, line)
            }
            Step::Salt(first) => challenge(*first, mechanism),
            Step::Done(request) => {
                check(mechanism, &request);
                if mechanism != Mechanism::ScramSha256 {
                    return;
                }
                proven = true;
                prove_scram(&[7; KEY_BYTES])
            }
            Step::Confirmed => return assert!(proven, "a login that nobody looked at"),
            Step::Failed(_) => return,
        };
    }
});

fn respond(exchange: Exchange, line: &str) -> Step {
    let next = exchange.respond(line.as_bytes());
    assert_eq!(matches!(next, Step::Failed(SaslError::Cancelled)), line == "*");
    next
}

fn challenge(first: ClientFirst, mechanism: Mechanism) -> Step {
    assert_eq!(mechanism, Mechanism::ScramSha256);
    assert_name(first.login());
    let (nonce, salt) = ("srv".to_owned(), b"salt".to_vec());
    challenge_scram(first, &ScramParameters { nonce, salt, iterations: 4096 })
}

fn check(mechanism: Mechanism, request: &LoginRequest) {
    assert_eq!(request.mechanism, mechanism);
    request.authorization.iter().chain([&request.login]).for_each(|name| assert_name(name));
    match &request.credential {
        Credential::Password(password) => assert!(fits(password.expose())),
        // RFC 5802 §3: the client's first words, ours, and its last without the proof.
        Credential::Scram(proof) => {
            let message: &str = &proof.auth_message;
            assert!(message.starts_with("n=") && message.contains("srv,s=c2FsdA==,i=4096,c="));
            assert!(!message.contains(",p="), "{message}");
        }
    }
}

fn assert_name(name: &str) {
    assert!(fits(name.as_bytes()) && !name.contains(char::is_control), "{name:?}");
}

fn fits(octets: &[u8]) -> bool {
    (1..=CREDENTIAL_BYTES_MAX).contains(&octets.len()) && !octets.contains(&0)
}
