//! A whole message, as it comes dot-stuffed or as its reader sees it. Whatever it holds, what is read of it stays within its bounds;
//! a message without dots at the beginning of lines is the same in both forms; one of which there is more is marked and otherwise
//! read alike; and the score of the content rules that ship is the sum of the rules that count.

#![no_main]

use libfuzzer_sys::fuzz_target;
use std::sync::LazyLock;
use tollgate::{
    config,
    message::{
        Excerpt, Facts, Form, Mark, facts,
        facts::{LINKS_MAX, PARTS_MAX, TEXT_BYTES_MAX},
    },
    rules::spam::content::Rules,
    types::ByteCount,
};

static RULES: LazyLock<Rules> = LazyLock::new(config::content_rules);

fuzz_target!(|octets: &[u8]| {
    let size = ByteCount::new(octets.len() as u64);
    let plain = facts(&Excerpt { text: octets, form: Form::Plain, size });
    check_bounds(&plain, octets.len());
    if !octets.starts_with(b".") && !octets.windows(2).any(|pair| pair == b"\n.") {
        let stuffed = facts(&Excerpt { text: octets, form: Form::Stuffed, size });
        assert_eq!(stuffed, plain);
    } else {
        check_bounds(&facts(&Excerpt { text: octets, form: Form::Stuffed, size }), octets.len());
    }
    let longer = ByteCount::new(octets.len() as u64 + 1);
    let cut = facts(&Excerpt { text: octets, form: Form::Plain, size: longer });
    assert!(cut.marks.has(Mark::CutOff) && !plain.marks.has(Mark::CutOff));
    assert_eq!((&cut.text, &cut.links), (&plain.text, &plain.links));
    let verdict = RULES.judge(&plain);
    let sum: f32 = verdict.hits.iter().map(|hit| hit.points).sum();
    assert!(verdict.score.is_finite() && (verdict.score - sum).abs() < 0.01, "{verdict:?}");
});

fn check_bounds(facts: &Facts, octets: usize) {
    assert!(facts.text.len() <= TEXT_BYTES_MAX);
    assert!(facts.links.len() <= LINKS_MAX && facts.links.len() <= octets);
    assert!(facts.links_count as usize >= facts.links.len());
    assert!(facts.parts as usize <= PARTS_MAX && facts.attachments.len() <= 20);
    assert!(facts.subject.chars().count() <= 300 && facts.authors.from.len() <= 10);
    for link in &facts.links {
        assert!(link.host.ends_with(&link.domain) && !link.domain.is_empty(), "{link:?}");
        assert!(!link.host.contains(|c: char| c.is_whitespace() || c.is_control()), "{link:?}");
        assert_eq!(link.host, link.host.to_lowercase());
    }
    let shares: u32 = facts.scripts.shares().iter().map(|(_, share)| u32::from(*share)).sum();
    assert!(shares <= 100, "{:?}", facts.scripts);
    let shape = &facts.shape;
    assert!(shape.capitals <= shape.letters && shape.shouted <= shape.words, "{shape:?}");
    assert!(shape.quoted <= shape.lines, "{shape:?}");
    assert!(facts.fingerprint.is_none_or(|print| print.distance(print) == 0));
}
