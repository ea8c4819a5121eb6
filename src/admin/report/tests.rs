//! Reports over what events left in the archive.

use super::*;
use crate::{
    admin::{
        daily,
        fixture::{Gate, gate},
        hourly, top_senders, traffic,
    },
    event::{AnswerBy, Charged, Event, Evidence, MessageReport, Outcome, RecipientReport},
    rules::{
        availability::{Ended, Lacks, Minute},
        quota::{Told, Usage},
        tally::Book,
    },
    store::archive::{Batch, StorageDays, StorageRow},
    types::{AccountId, ReversePath},
};
use std::sync::Arc;

fn message(account: &str, codes: &[(&str, u16)]) -> Event {
    let account: AccountId = account.parse().unwrap();
    let count = |wanted: fn(u16) -> bool| {
        u32::try_from(codes.iter().filter(|(_, code)| wanted(*code)).count()).unwrap()
    };
    let recipients = codes.iter().map(|&(address, code)| RecipientReport {
        address: address.parse().unwrap(),
        code,
        by: AnswerBy::NextHop,
    });
    Event::Message(Box::new(MessageReport {
        session: "s1".parse().unwrap(),
        transaction: "s1.1".parse().unwrap(),
        listener: "submission".into(),
        charged: Some(Charged {
            tenant: account.domain().unwrap().parse().unwrap(),
            account,
            plan: "shared-hosting".parse().unwrap(),
            evidence: Evidence::Auth,
            peer: None,
        }),
        client: "192.0.2.7".parse().unwrap(),
        sender: ReversePath::Null,
        recipients: recipients.collect(),
        recipients_sent: count(|code| code < 400),
        recipients_refused: count(|code| code >= 500),
        recipients_deferred: count(|code| (400..500).contains(&code)),
        recipients_limited: 0,
        message_id: None,
        subject_hash: None,
        size_bytes: 1_000,
        outcome: Outcome::Sent,
        reply: None,
        next_hop: None,
        egress: std::sync::Arc::default(),
        next_hop_reply: None,
        began: Timestamp::EPOCH,
        lasted: Duration::ZERO,
        next_hop_took: None,
        scans: crate::event::Scans::default(),
        judgement: None,
        would_refuse: false,
    }))
}

/// Has the archive keep events, and that the time before them was listened to.
async fn keep(gate: &Gate, at: &str, events: &[Event]) {
    let key = gate.admin.archive.recipient_key().await.unwrap();
    let mut book = Book::new(key, Zone::UTC);
    let at = at.parse().unwrap();
    events.iter().for_each(|event| book.note(at, event));
    book.cover(at, Duration::from_secs(600));
    let batch = Batch { usage: book.take(), ..Batch::default() };
    gate.admin.archive.keep(Arc::new(batch)).await.unwrap();
}

async fn october(gate: &Gate) -> ReportPage {
    let october = period(&gate.admin, "2026-10").unwrap();
    report_page(&gate.admin, &october, &PageRequest::default()).await.unwrap()
}

async fn sample() -> Gate {
    let gate = gate();
    gate.send("quiet@calm.example", "calm.example", 7).await;
    gate.send("a@shop.example", "shop.example", 2).await;
    let codes = [
        ("b@one.example", 250),
        ("c@one.example", 250),
        ("d@two.example", 550),
        ("e@two.example", 451),
    ];
    keep(&gate, "2026-10-05T10:10:00Z", &[message("a@shop.example", &codes)]).await;
    keep(&gate, "2026-10-06T10:10:00Z", &[message("=cmd@shop.example", &[("b@one.example", 250)])])
        .await;
    for (at, bytes) in [
        ("2026-10-05T10:10:00Z", 3_500_000_000),
        ("2026-10-31T23:10:00Z", 2_000_000_000),
        ("2026-11-01T00:10:00Z", 9_000_000_000),
    ] {
        store(&gate, at, bytes).await;
    }
    gate
}

/// What the mailboxes of shop.example hold.
async fn store(gate: &Gate, at: &str, bytes: u64) {
    let measured = at.parse().unwrap();
    let tenant: TenantId = "shop.example".parse().unwrap();
    let row = StorageRow {
        subject: SubjectId::Tenant(tenant.clone()),
        tenant,
        figure: Some((Usage { bytes, files: 12 }, measured, "sum".into())),
        told: Told::default(),
    };
    let day = gate.admin.zone.day_of(measured);
    let days = StorageDays { day, month: day.month().first() };
    gate.admin.archive.note_storage(vec![row], days).await.unwrap();
}

#[tokio::test]
async fn everybody_is_in_it_and_what_is_left_is_what_the_ledger_says() {
    let gate = sample().await;
    let page = october(&gate).await;
    let names: Vec<&str> = page.tenants.iter().map(|tenant| tenant.tenant.as_str()).collect();
    assert_eq!(names, ["calm.example", "shop.example"]);
    let [calm, shop] = &page.tenants[..] else { panic!("two") };
    // What calm.example sent, it sent now and not in October.
    assert_eq!((calm.accepted_recipients, calm.first), (0, None));
    assert_eq!(calm.limits[0].remaining, 43);
    assert_eq!(
        (shop.accepted_messages, shop.accepted_recipients, shop.distinct_recipients),
        (2, 3, 2)
    );
    assert_eq!((shop.deferred, shop.hard_bounced, shop.hard_bounced_percent), (1, 1, Some(20.0)));
    let peak = shop.peak_hour.as_ref().unwrap();
    assert_eq!((peak.recipients, peak.limit, peak.percent), (2, Some(50), Some(4.0)));
    assert_eq!(peak.from.to_string(), "2026-10-05T10:00:00.000Z");
    assert_eq!(
        shop.peak_24_hours.as_ref().unwrap().recipients,
        2,
        "11:00 to 10:59 holds one of the two"
    );
    assert_eq!((page.head.minutes, page.head.minutes_collected), (31 * 24 * 60, 20));
    assert_eq!(page.head.gaps.len(), 3, "before, between and after: {:?}", page.head.gaps);
}

#[tokio::test]
async fn pages_join_into_the_whole() {
    let gate = sample().await;
    let whole = october(&gate).await.tenants;
    let period = period(&gate.admin, "2026-10").unwrap();
    let (mut joined, mut after) = (Vec::new(), None);
    loop {
        let request = PageRequest { after, max: Some(1) };
        let page = report_page(&gate.admin, &period, &request).await.unwrap();
        joined.extend(page.tenants);
        after = page.next;
        if after.is_none() {
            break;
        }
    }
    assert_eq!(joined, whole);
}

#[tokio::test]
async fn csv_has_a_row_for_each_and_runs_nothing() {
    let page = october(&sample().await).await;
    let text = csv_heading() + &csv_rows(&page.head, &page.tenants);
    let mut rows = text.split("\r\n");
    assert!(rows.next().unwrap().starts_with("tenant,plan,state,begin,end,time_zone,minutes,"));
    assert_eq!(
        rows.next().unwrap(),
        "calm.example,shared-hosting,active,2026-10-01T00:00:00.000Z,2026-11-01T00:00:00.000Z,UTC,44640,20,50,600,\
         0,0,0,0,0,0,0,,0,,,,,,,,0,0,0,0,0,0,0,0,0,43,,593,,,,,,,,0,0"
    );
    assert_eq!(
        rows.next().unwrap(),
        "shop.example,shared-hosting,active,2026-10-01T00:00:00.000Z,2026-11-01T00:00:00.000Z,UTC,44640,20,50,600,\
         2,3,2,3,0,1,1,20,0,0,2,2026-10-05T10:00:00.000Z,4,2,2026-10-04T11:00:00.000Z,0.3,0,0,0,0,0,0,2000,0,0,48,,598,,\
         a@shop.example=2 =cmd@shop.example=1,192.0.2.0/24=3,one.example=3 two.example=0,2000000000,3500000000,12,0,0"
    );
    let mut evil = page.tenants[0].clone();
    for (name, cell) in
        [("=1+1", "'=1+1"), ("@SUM(A1)", "'@SUM(A1)"), ("-x", "'-x"), ("a,\"b", "\"a,\"\"b\"")]
    {
        evil.tenant = name.into();
        let row = csv_rows(&page.head, std::slice::from_ref(&evil));
        assert!(row.starts_with(&format!("{cell},shared-hosting")), "{row}");
    }
}

#[tokio::test]
async fn a_report_says_how_much_of_the_period_mail_could_flow() {
    let gate = sample().await;
    let october = period(&gate.admin, "2026-10").unwrap();
    let shop = "shop.example".parse().unwrap();
    let before = report_of(&gate.admin, &october, &shop).await.unwrap();
    assert_eq!(before.availability.percent, None, "nothing was noted");
    assert!(html(&before).contains("Availability of the service</th><td class=\"n\">–</td>"));
    let first = Minute::from("2026-10-31T23:56:00Z".parse().unwrap());
    let minute = |n| Ended {
        minute: Some((first.plus(n), if n == 2 { Lacks::STORE } else { Lacks::NOTHING })),
        ..Ended::default()
    };
    // The last one is not of October.
    gate.admin.archive.note_minutes((0..5).map(minute).collect()).await.unwrap();
    let report = report_of(&gate.admin, &october, &shop).await.unwrap();
    let found = report.availability;
    assert_eq!((found.percent, found.down_minutes, found.target_percent), (Some(75.0), 1, 99.0));
    assert!(html(&report).contains("75 % (99 % a month promised)"), "{}", html(&report));
}

#[tokio::test]
async fn a_page_is_in_the_tenants_language_and_shows_gaps() {
    let gate = sample().await;
    let period = period(&gate.admin, "2026-10").unwrap();
    let tenant = "shop.example".parse().unwrap();
    let mut document = report_of(&gate.admin, &period, &tenant).await.unwrap();
    let collected: Vec<&str> =
        document.days.iter().filter(|day| day.collected).map(|day| day.day.as_str()).collect();
    assert_eq!((document.days.len(), collected), (31, vec!["2026-10-05", "2026-10-06"]));
    document.tenant.top_domains[0].domain = "<script>alert(1)</script>".into();
    let english = html(&document);
    assert!(
        english.contains("<html lang=\"en\">")
            && english.contains("Accepted recipients</th><td class=\"n\">3</td>")
    );
    assert!(english.contains("44620 of 44640 minutes are missing"));
    assert!(english.contains("<svg class=\"chart\" role=\"img\"") && english.contains("chart-gap"));
    assert!(!english.contains("<script"));
    document.language = crate::types::Language::Indonesian;
    let indonesian = html(&document);
    assert!(indonesian.contains("<html lang=\"id\">") && indonesian.contains("Penerima diterima"));
}

#[tokio::test]
async fn a_plot_has_no_value_where_nothing_was_listened_to() {
    let gate = gate();
    let now = gate.admin.utc();
    keep(&gate, &now.to_string(), &[message("a@shop.example", &[("b@one.example", 250)])]).await;
    let of = |tenant: &str| UsageOf { tenant: tenant.parse().unwrap(), account: None };
    let shop = of("shop.example");
    let hours = hourly(&gate.admin, shop.clone(), 24).await.unwrap();
    assert_eq!((hours.len(), hours[0].counts), (24, None));
    assert_eq!(hours[23].counts.unwrap().accepted, 1);
    let days = daily(&gate.admin, shop, 30).await.unwrap();
    assert_eq!((days.len(), days[0].counts, days[29].counts.unwrap().accepted), (30, None, 1));
    let day = traffic(&gate.admin).await.unwrap().day;
    let collected = day.iter().filter_map(|slot| slot.counts);
    assert_eq!((day.len(), collected.map(|counts| counts.accepted).sum::<u64>()), (144, 1));
    let top = top_senders(&gate.admin, 1, 5).await.unwrap();
    assert_eq!(top[0].account, "a@shop.example");
    let other = hourly(&gate.admin, of("other.example"), 1).await.unwrap();
    assert_eq!(other[0].counts.unwrap().accepted, 0);
}

#[test]
fn a_period_must_be_one() {
    let hour = |n| Hour::new(n);
    let (gaps, more) = gaps(hour(0), hour(300), |hour| hour.number() % 2 == 0);
    assert_eq!((gaps.len(), more), (GAPS_MAX, true));
}
