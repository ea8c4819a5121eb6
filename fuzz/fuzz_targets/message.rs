//! The header of a message, as it comes dot-stuffed. The octets to leave out are whole fields, in order, apart and within the
//! header; without them no identity field is found and nothing else is lost; our own field on top is the only one that is
//! believed to be topmost, whatever the client called itself.

#![no_main]

use libfuzzer_sys::fuzz_target;
use std::net::{IpAddr, Ipv4Addr};
use tollgate::{
    event::Evidence,
    message::{
        Dialect, Found, HEADER_SCAN_BYTES_MAX, HeaderEvidence, ReceivedFacts, ShownClient,
        begins_with_continuation, cuts_of_identity_fields, header_evidence, received_count,
        received_field,
    },
    types::Timestamp,
};

fuzz_target!(|input: (u8, &[u8])| {
    let (helo_bytes, octets) = input;
    let (helo, head) = octets.split_at(usize::from(helo_bytes).min(octets.len()));
    let (found, hops) = (header_evidence(head), received_count(head));
    let rest = without_cuts(head, |_| true);
    check_stripped(&header_evidence(&rest), &found);
    assert_eq!(received_count(&rest), hops);
    assert!(cuts_of_identity_fields(&rest, |_| true).is_empty(), "{}", rest.escape_ascii());
    check_one_kind(head, &found);
    check_received(&String::from_utf8_lossy(helo), head, hops);
});

fn without_cuts(head: &[u8], unwanted: impl Fn(Evidence) -> bool) -> Vec<u8> {
    let (mut rest, mut at) = (Vec::new(), 0);
    for cut in cuts_of_identity_fields(head, unwanted) {
        let place = |octets: u64| usize::try_from(octets).expect("a place in the head");
        let (start, end) = (place(cut.start), place(cut.end));
        assert!(at <= start && start < end && end <= head.len().min(HEADER_SCAN_BYTES_MAX));
        assert!(start == 0 || head[start - 1] == b'\n', "not the beginning of a line");
        assert!(end == head.len() || head[end - 1] == b'\n', "not the end of a line");
        assert!(!begins_with_continuation(&head[end..]), "the rest of a field stays");
        rest.extend_from_slice(&head[at..start]);
        at = end;
    }
    rest.extend_from_slice(&head[at..]);
    rest
}

/// No identity field is left; what the Received field says is not touched.
fn check_stripped(after: &HeaderEvidence, before: &HeaderEvidence) {
    let gone = HeaderEvidence {
        received_auth: before.received_auth.clone(),
        received_userid: before.received_userid.clone(),
        ..HeaderEvidence::default()
    };
    let unsure = after.x_auth_user == Found::Malformed && after.php_script == Found::Malformed;
    assert!(*after == gone || unsure, "{after:?}");
    for found in [&after.x_auth_user, &after.x_authenticated_sender] {
        assert!(!matches!(found, Found::One(_) | Found::Twice), "{after:?}");
    }
}

/// Where only one kind is unwanted, the others say what they said.
fn check_one_kind(head: &[u8], before: &HeaderEvidence) {
    let after = header_evidence(&without_cuts(head, |kind| kind == Evidence::XAuthUser));
    let expected = HeaderEvidence { x_auth_user: Found::Absent, ..before.clone() };
    let is_cut_off = head.len() >= HEADER_SCAN_BYTES_MAX;
    assert!(after == expected || is_cut_off, "{after:?} of {before:?}");
}

fn check_received(helo: &str, head: &[u8], hops: usize) {
    let hostname = "gate.example".parse().expect("a name");
    let transaction = "01abc".parse().expect("an id");
    let address = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1));
    let field = received_field(&ReceivedFacts {
        client: Some(ShownClient { helo, address }),
        hostname: &hostname,
        dialect: Dialect::Esmtp,
        tls: true,
        login: true,
        transaction: &transaction,
        at: Timestamp::EPOCH,
    });
    let text = str::from_utf8(&field).expect("ASCII");
    assert!(text.is_ascii() && text.starts_with("Received: from ") && text.ends_with("\r\n"));
    for (number, line) in text.split_terminator("\r\n").enumerate() {
        assert!(
            !line.contains(|c: char| c.is_control() && c != '\t') && line.len() <= 998,
            "{text:?}"
        );
        assert!(number == 0 || line.starts_with('\t'), "{text:?}");
    }
    if field.len() + head.len() >= HEADER_SCAN_BYTES_MAX {
        return;
    }
    // A line that would continue our field is no header; an empty line keeps it away.
    let is_header = !begins_with_continuation(head);
    let apart: &[u8] = if is_header { b"" } else { b"\r\n" };
    let whole = [&field, apart, head].concat();
    let found = header_evidence(&whole);
    assert_eq!((found.received_auth, found.received_userid), (Found::Absent, Found::Absent));
    assert_eq!(received_count(&whole), if is_header { hops + 1 } else { 1 });
}
