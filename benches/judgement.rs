//! What judging a text costs: reading the facts of a message and holding the content rules that ship against them, for 4 KB of
//! several kinds, and for the most that a message can make it do.
//!
//! *Lines of X* is what `smtp-source` sends, whose relaying `benches/relay/run` measures; *plain* and *page* are made of words
//! that follow one another at random, the same in every run. *Scan* is a plain text longer than is looked at, *bomb* one of
//! 10,000 parts, and *links* a page of nothing but links. `cargo bench --bench judgement`.

use criterion::Criterion;
use std::hint::black_box;
use tollgate::{
    config,
    message::{Excerpt, Form, facts, facts::SCAN_BYTES_MAX},
    rules::spam::content::Rules,
    types::ByteCount,
};

fn main() {
    let mut criterion = Criterion::default().sample_size(50).configure_from_args();
    let rules = config::content_rules();
    let messages = [
        ("4 KB, lines of X", message("", &format!("{}\r\n", "X".repeat(78)).repeat(51))),
        ("4 KB, plain", message("", &prose(4_096, "\r\n"))),
        ("4 KB, page", message(HTML, &page(4_096))),
        ("1 MiB, scan", message("", &prose(2 * SCAN_BYTES_MAX, "\r\n"))),
        ("1 MiB, links", message(HTML, &LINK.repeat(2 * SCAN_BYTES_MAX / LINK.len()))),
        ("10,000 parts, bomb", message(MIXED, &bomb())),
    ];
    for (name, text) in &messages {
        criterion.bench_function(name, |b| b.iter(|| judge(&rules, black_box(text))));
    }
    criterion.final_summary();
}

/// The points of a message, all in all.
fn judge(rules: &Rules, text: &str) -> f32 {
    let size = ByteCount::new(u64::try_from(text.len()).unwrap_or(u64::MAX));
    rules.judge(&facts(&Excerpt { text: text.as_bytes(), form: Form::Stuffed, size })).score
}

fn message(fields: &str, body: &str) -> String {
    format!(
        "From: Ana <ana@shop.example>\r\nTo: bo@firm.example\r\nSubject: Lunch at the new place\r\n\
         Date: Sun, 22 Nov 2026 09:14:07 +0100\r\nMessage-ID: <1@shop.example>\r\n{fields}\r\n{body}"
    )
}

/// Words up to a length, each twelfth at the end of a line.
fn prose(bytes: usize, line_end: &str) -> String {
    let (mut text, mut state) = (String::with_capacity(bytes + 16), 1_u32);
    for count in 1.. {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        text.push_str(WORDS[(state >> 16) as usize % WORDS.len()]);
        text.push_str(if count % 12 == 0 { line_end } else { " " });
        if text.len() >= bytes {
            break;
        }
    }
    text
}

/// A table of paragraphs with a link each, as newsletters are.
fn page(bytes: usize) -> String {
    let row = |text: &str| {
        format!("<tr><td style=\"color:#333\"><p class=t>{text}</p>{LINK}</td></tr>\r\n")
    };
    let rows = prose(bytes / 2, "\n").lines().map(row).collect::<String>();
    format!("<html><body><table>{}</table></body></html>", &rows[..rows.len().min(bytes)])
}

fn bomb() -> String {
    "--b\r\nContent-Type: text/plain\r\n\r\nx\r\n".repeat(10_000)
}

const HTML: &str = "Content-Type: text/html; charset=utf-8\r\n";
const MIXED: &str = "Content-Type: multipart/mixed; boundary=b\r\n";
const LINK: &str = "<a href=\"https://www.shop.example/news/1?u=ana\">read more</a> ";
const WORDS: [&str; 64] = [
    "the",
    "a",
    "of",
    "to",
    "and",
    "in",
    "is",
    "it",
    "you",
    "that",
    "for",
    "on",
    "with",
    "as",
    "this",
    "we",
    "order",
    "meeting",
    "invoice",
    "Monday,",
    "project",
    "please",
    "thanks",
    "report",
    "attached.",
    "team",
    "customer",
    "I",
    "delivery",
    "warehouse",
    "agenda",
    "time.",
    "week",
    "will",
    "be",
    "have",
    "from",
    "our",
    "new",
    "office",
    "number",
    "call",
    "know",
    "house",
    "garden",
    "free",
    "account",
    "price",
    "The",
    "We",
    "budget",
    "letter",
    "school",
    "train",
    "question",
    "answer,",
    "room",
    "Friday.",
    "plan",
    "draft",
    "12",
    "2026",
    "SMTP",
    "EUR",
];
