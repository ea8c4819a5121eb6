//! The use cases over the store in memory.

use super::{fixture::gate, *};
use crate::{
    store::records::SubjectKind,
    types::{Actor, Scope, Via},
};

fn op() -> Actor {
    Actor::new(Via::ControlSocket, "op")
}

fn account(name: &str) -> Who {
    Who::new(SubjectKind::Accounts, name).unwrap()
}

fn tenant(name: &str) -> Who {
    Who::new(SubjectKind::Tenants, name).unwrap()
}

fn limits(specs: &[&str]) -> Changes {
    Changes {
        limits: specs.iter().map(|spec| spec.parse().unwrap()).collect(),
        reason: Some("sale".into()),
        ..Changes::default()
    }
}

/// `scope window used/max left from source` of each limit.
fn shown(limits: &[LimitView]) -> Vec<String> {
    let show = |l: &LimitView| {
        format!("{} {} {}/{} {} {}", l.scope, l.window, l.used, l.max, l.remaining, l.source)
    };
    limits.iter().map(show).collect()
}

#[tokio::test]
async fn explain_has_the_numbers_of_the_ledger() {
    let gate = gate();
    gate.send("a@shop.example", "shop.example", 50).await;
    let name = "a@shop.example".parse().unwrap();
    let explained = explain(&gate.admin, &name, Some("192.0.2.7".parse().unwrap())).await.unwrap();
    assert!(explained.known);
    assert_eq!(explained.tenant.as_str(), "shop.example");
    assert_eq!((explained.plan_source, explained.plan_exists), (PlanSource::Default, true));
    assert_eq!(
        shown(&explained.limits),
        [
            "tenant 1 h 50/50 0 plan shared-hosting",
            "tenant 24 h 50/600 550 plan shared-hosting",
            "account 1 h 50/50 0 plan shared-hosting",
            "account 24 h 50/600 550 plan shared-hosting",
            "client-ip 1 h 0/50 50 plan shared-hosting",
            "client-ip 24 h 0/600 600 plan shared-hosting",
        ]
    );
    let full = &explained.limits[2];
    assert!(full.next_slot.unwrap() > explained.at);
    let used = usage(&gate.admin, &name).await.unwrap();
    assert_eq!(used.limits[..], explained.limits[..4]);
}

#[tokio::test]
async fn an_unknown_account_is_explained_too() {
    let gate = gate();
    let name = "new@shop.example".parse().unwrap();
    let explained = explain(&gate.admin, &name, None).await.unwrap();
    assert!(!explained.known && explained.last_refusal.is_none());
    assert_eq!(explained.limits.len(), 4);
}

#[tokio::test]
async fn the_last_refusal_is_shown() {
    let gate = gate();
    let name = "a@shop.example".parse().unwrap();
    gate.admin.records.note_refusal(&name, gate.admin.clock.now(), "450 4.7.1 full", None);
    let last = explain(&gate.admin, &name, None).await.unwrap().last_refusal.unwrap();
    assert_eq!((last.reply.as_str(), last.count), ("450 4.7.1 full", 1));
}

#[tokio::test]
async fn overrides_go_from_plan_to_tenant_to_account() {
    let gate = gate();
    let who = account("a@shop.example");
    set(&gate.admin, &tenant("shop.example"), &limits(&["account recipients 1h=70"]), &op())
        .await
        .unwrap();
    let view = show(&gate.admin, &who).await.unwrap();
    assert_eq!(shown(&view.limits)[0], "account 1 h 0/70 70 tenant");
    let changes = Changes {
        plan: Patch::Set("big".parse().unwrap()),
        until: Some("2h".parse().unwrap()),
        ..limits(&["account recipients 1h=200", "account recipients 1d=none"])
    };
    let view = set(&gate.admin, &who, &changes, &op()).await.unwrap();
    assert_eq!(shown(&view.limits), ["account 1 h 0/200 200 account"]);
    assert_eq!((view.plan.as_str(), view.plan_source), ("big", PlanSource::Account));
    assert!(view.registered && view.overrides.iter().all(|o| o.record.until.is_some()));
    let clear = Changes {
        clear_limits: vec!["account recipients 1h".parse().unwrap()],
        reason: Some("over".into()),
        ..Changes::default()
    };
    let view = set(&gate.admin, &who, &clear, &op()).await.unwrap();
    assert_eq!(shown(&view.limits), ["account 1 h 0/70 70 tenant"]);
}

#[tokio::test]
async fn an_accounts_plan_does_not_move_its_tenants_limits() {
    let gate = gate();
    let plan = Patch::Set("big".parse().unwrap());
    set(&gate.admin, &account("a@shop.example"), &Changes { plan, ..Changes::default() }, &op())
        .await
        .unwrap();
    let used = usage(&gate.admin, &"a@shop.example".parse().unwrap()).await.unwrap();
    assert_eq!(
        shown(&used.limits),
        [
            "tenant 1 h 0/50 50 plan shared-hosting",
            "tenant 24 h 0/600 600 plan shared-hosting",
            "account 1 h 0/500 500 plan big",
            "account 24 h 0/6000 6000 plan big",
        ]
    );
}

#[tokio::test]
async fn every_change_is_told() {
    let gate = gate();
    let who = account("a@shop.example");
    set(&gate.admin, &who, &limits(&["account recipients 1h=200"]), &op()).await.unwrap();
    set(&gate.admin, &who, &limits(&["account recipients 1h=none"]), &op()).await.unwrap();
    suspend(&gate.admin, &who, "spam", &op()).await.unwrap();
    resume(&gate.admin, &who, &Release::because("cleaned"), &op()).await.unwrap();
    assert_eq!(
        *gate.told.lock(),
        [
            "account a@shop.example: registered",
            "account a@shop.example: account recipients 1 h: as in the plan → 200",
            "account a@shop.example: account recipients 1 h: 200 → none",
            "suspended",
            "resumed",
        ]
    );
}

#[tokio::test]
async fn a_suspension_is_one_case_with_reason_and_actor() {
    let gate = gate();
    let who = tenant("shop.example");
    let alice = Actor::new(Via::ControlSocket, "alice (uid 1000)");
    let view = suspend(&gate.admin, &who, "spam wave", &alice).await.unwrap();
    let State::Suspended { case, reason, actor, .. } = &view.state else { panic!("not suspended") };
    assert!(case.as_str().starts_with("TG-"));
    assert_eq!((reason.as_str(), actor.as_str()), ("spam wave", "alice (uid 1000)"));
    let bob = Actor::new(Via::Api, "bob");
    let again = suspend(&gate.admin, &who, "spam wave", &bob).await;
    assert!(matches!(again, Err(AdminError::Conflict(_))));
    let name = "a@shop.example".parse().unwrap();
    let explained = explain(&gate.admin, &name, None).await.unwrap();
    assert_eq!((explained.account_state, explained.tenant_state), (State::Active, view.state));
    let lifted = resume(&gate.admin, &who, &Release::because("cleaned"), &bob).await.unwrap();
    assert_eq!(lifted.state, State::Active);
    let again = resume(&gate.admin, &who, &Release::because("cleaned"), &bob).await;
    assert!(matches!(again, Err(AdminError::Conflict(_))));
}

/// Nothing may change, and the text must say what is wrong.
async fn check_refused(who: &Who, changes: Changes, text: &str) {
    let gate = gate();
    let before = show(&gate.admin, who).await.unwrap();
    match set(&gate.admin, who, &changes, &op()).await {
        Err(AdminError::Invalid(said)) => assert!(said.contains(text), "{said}"),
        other => panic!("{changes:?}: {other:?}"),
    }
    assert_eq!(show(&gate.admin, who).await.unwrap(), before);
    assert!(gate.told.lock().is_empty());
}

#[tokio::test]
async fn what_does_not_fit_changes_nothing() {
    let who = account("a@shop.example");
    let base = || limits(&["account recipients 1h=200"]);
    let plan = Patch::Set("gold".parse().unwrap());
    check_refused(
        &who,
        Changes { plan, ..base() },
        "there is no plan gold; the configuration has big, shared-hosting",
    )
    .await;
    check_refused(&who, Changes { reason: None, ..base() }, "a reason is needed").await;
    check_refused(&who, Changes { reason: Some(" ".into()), ..base() }, "a reason is needed").await;
    check_refused(&who, Changes { reason: Some("a\nb".into()), ..base() }, "one line").await;
    let until = Some("2020-01-01T00:00:00Z".parse().unwrap());
    check_refused(&who, Changes { until, ..base() }, "not in the future").await;
    check_refused(&who, limits(&["tenant recipients 1h=200"]), "tenant").await;
    let senders = Patch::Set(vec!["nobody".into()]);
    check_refused(&who, Changes { senders, ..base() }, "neither an address").await;
    let assigned = Patch::Set("other".parse().unwrap());
    check_refused(
        &tenant("shop.example"),
        Changes { tenant: assigned, ..base() },
        "only an account",
    )
    .await;
    let many: Vec<String> = (1..=65).map(|s| format!("account recipients {s}s=1")).collect();
    let many: Vec<&str> = many.iter().map(String::as_str).collect();
    check_refused(&who, limits(&many), "more than 64 overrides").await;
}

#[tokio::test]
async fn a_list_has_the_registered_and_those_who_sent_in_pages() {
    let gate = gate();
    for name in ["d@x.example", "b@x.example"] {
        set(&gate.admin, &account(name), &Changes::default(), &op()).await.unwrap();
    }
    for name in ["c@x.example", "b@x.example", "a@y.example"] {
        gate.send(name, "x.example", 1).await;
    }
    let mut names = Vec::new();
    let mut request = PageRequest { after: None, max: Some(3) };
    loop {
        let page = list(&gate.admin, SubjectKind::Accounts, &request).await.unwrap();
        assert!(page.items.len() <= 3 && page.items.iter().all(|view| view.kind == Scope::Account));
        names.extend(page.items.into_iter().map(|view| view.name));
        request.after = page.next;
        if request.after.is_none() {
            break;
        }
    }
    assert_eq!(names, ["a@y.example", "b@x.example", "c@x.example", "d@x.example"]);
    let tenants = list(&gate.admin, SubjectKind::Tenants, &PageRequest::default()).await.unwrap();
    assert_eq!(tenants.items.len(), 1);
    assert_eq!(shown(&tenants.items[0].limits)[0], "tenant 1 h 3/50 47 plan shared-hosting");
}

#[test]
fn readiness_says_what_is_missing() {
    let down = NextHopHealth {
        next_hop: "mx:25".into(),
        usable: false,
        detail: None,
        egress: Vec::new(),
        avoided: None,
    };
    let up = NextHopHealth { usable: true, ..down.clone() };
    let ready = Readiness {
        store_failure: None,
        listening_failure: None,
        logins_failure: None,
        events_failure: None,
        next_hops: vec![down.clone(), up],
        draining: false,
    };
    assert!(ready.missing().is_empty());
    let bad = Readiness {
        listening_failure: None,
        store_failure: Some("disk full".into()),
        logins_failure: Some("no Dovecot".into()),
        events_failure: None,
        next_hops: vec![down],
        draining: true,
    };
    assert_eq!(bad.missing(), ["disk full", "no next hop is usable", "the program is stopping"]);
}

/// One change of several that does not fit keeps the others from being made.
#[tokio::test]
async fn overrides_are_checked_before_anything_is_written() {
    let gate = gate();
    let who = account("a@shop.example");
    set(&gate.admin, &who, &limits(&["account recipients 1h=200"]), &op()).await.unwrap();
    gate.told.lock().clear();
    let before = show(&gate.admin, &who).await.unwrap();
    for targets in [&["account recipients 2h"][..], &["account recipients 1h"; 2]] {
        let changes = Changes {
            plan: Patch::Set("big".parse().unwrap()),
            clear_limits: targets.iter().map(|target| target.parse().unwrap()).collect(),
            reason: Some("over".into()),
            ..Changes::default()
        };
        let refused = set(&gate.admin, &who, &changes, &op()).await;
        assert!(refused.is_err(), "{targets:?}");
        assert_eq!(show(&gate.admin, &who).await.unwrap(), before, "{targets:?}");
    }
    assert!(gate.told.lock().is_empty());
}

#[tokio::test]
async fn room_for_overrides_is_counted_by_what_would_remain() {
    let gate = gate();
    let who = account("a@shop.example");
    let many: Vec<String> = (1..=64).map(|s| format!("account recipients {s}s=1")).collect();
    let many: Vec<&str> = many.iter().map(String::as_str).collect();
    set(&gate.admin, &who, &limits(&many), &op()).await.unwrap();
    // One in place of one is no more than before.
    let view = set(&gate.admin, &who, &limits(&["account recipients 1s=2"]), &op()).await.unwrap();
    assert_eq!(view.overrides.len(), 64);
    let more = limits(&["account recipients 65s=1"]);
    let full = set(&gate.admin, &who, &more, &op()).await;
    assert!(matches!(full, Err(AdminError::Invalid(_))), "{full:?}");
    let one = "account recipients 2s".parse().unwrap();
    let moved = Changes { clear_limits: vec![one], ..more.clone() };
    set(&gate.admin, &who, &moved, &op()).await.unwrap();
    // What has ended makes room.
    let record = gate.admin.records.subject(who.subject()).await.unwrap();
    let ended = crate::rules::limits::LimitOverride {
        until: Some(Timestamp::from_millis(1)),
        ..record.overrides[0].clone()
    };
    let change = crate::store::records::Change {
        subject: who.subject().clone(),
        what: crate::store::records::What::SetOverride(ended),
        reason: "trial".into(),
        evidence: None,
        actor: op(),
    };
    gate.admin.records.change(change, gate.admin.clock.utc()).await.unwrap();
    let more = limits(&["account recipients 66s=1"]);
    assert_eq!(set(&gate.admin, &who, &more, &op()).await.unwrap().overrides.len(), 64);
}

#[tokio::test]
async fn an_account_with_capitals_and_dots_is_traced() {
    let gate = gate();
    let message = crate::store::archive::NewEvent {
        at: Timestamp::EPOCH,
        name: "message".into(),
        tenant: "shop.example".parse().ok(),
        account: "john.smith".parse().ok(),
        marks: Vec::new(),
        body: "{}".into(),
    };
    let events = vec![message];
    let batch = crate::store::archive::Batch { events, ..Default::default() };
    gate.admin.archive.keep(Arc::new(batch)).await.unwrap();
    for of in ["john.smith", "John.Smith"] {
        let request = TraceRequest::new(of.parse().unwrap());
        let found = trace(&gate.admin, &Reader::Staff(&op()), &request).await.unwrap();
        assert_eq!(found.items.len(), 1, "{of}");
    }
}

#[tokio::test]
async fn a_tenants_pages_name_no_account_that_it_lost() {
    let gate = gate();
    let tenant: TenantId = "x.example".parse().unwrap();
    for name in ["a@x.example", "b@x.example", "c@x.example", "d@x.example"] {
        gate.send(name, "x.example", 1).await;
    }
    for name in ["b@x.example", "c@x.example"] {
        let tenant = Patch::Set("y.example".parse().unwrap());
        let changes = Changes { tenant, ..Changes::default() };
        set(&gate.admin, &account(name), &changes, &op()).await.unwrap();
    }
    let mut pages = Vec::new();
    let mut request = PageRequest { after: None, max: Some(1) };
    loop {
        let page = accounts_of(&gate.admin, &tenant, &request).await.unwrap();
        let names: Vec<String> = page.items.into_iter().map(|view| view.name).collect();
        pages.push((names.join(" "), page.next.clone().unwrap_or_default()));
        request.after = page.next;
        if request.after.is_none() {
            break;
        }
    }
    let expected = [("a@x.example", "a@x.example"), ("d@x.example", "")];
    assert_eq!(pages, expected.map(|(name, next)| (name.to_owned(), next.to_owned())));
}

#[test]
fn a_full_table_does_not_fit_what_is_recorded() {
    let full = StoreError::Full { what: "the table of tokens", max: 7 };
    match AdminError::from(full) {
        AdminError::Conflict(said) => assert_eq!(said, "the table of tokens is full (7 entries)"),
        other => panic!("{other:?}"),
    }
}
