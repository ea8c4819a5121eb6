//! The pages for operators and tenants in a real Chromium, as people use them: signing in, acting, reading in two languages, in the
//! dark, on a phone, with a screen reader's rules (axe-core), without scripts; and what they must not show to strangers.

use crate::{
    blocklists,
    support::{
        Faults, Gate, Settings,
        browser::{Browser, Scheme, Screen},
        dns::{Names, Says},
        gate, programs, sink, wait_for,
    },
};

const ACCOUNT: &str = "a@shop.example";

/// A token of the gate.
fn token(gate: &Gate, name: &str, arguments: &[&str]) -> String {
    let made = gate.json(&[&["token", "create", name], arguments].concat());
    made["secret"].as_str().unwrap().to_owned()
}

fn operator(gate: &Gate) -> String {
    token(gate, "desk", &["--role", "operator"])
}

fn page(gate: &Gate, path: &str) -> String {
    format!("http://{}{path}", gate.api())
}

/// Opens a page, signs in where that is asked for, and is led on to it.
#[track_caller]
fn sign_in(browser: &Browser, gate: &Gate, token: &str, path: &str) {
    browser.open(&page(gate, path));
    assert!(browser.path().starts_with("/login?to="), "{}", browser.path());
    browser.fill("#token", token);
    browser.click("button[type=submit].main");
}

/// Fails if the console has an error, or the page's policy forbade something of its own.
#[track_caller]
fn assert_quiet(browser: &Browser) {
    let complaints = browser.console();
    assert!(complaints.is_empty(), "{}: {complaints:#?}", browser.path());
}

fn small() -> Settings {
    gate().limit(5, "1h").limit(100, "24h").scoped_limit("tenant", "recipients", 40, "24h")
}

#[test]
fn an_operator_suspends_with_a_reason_and_lifts() {
    let sink = sink().run();
    let gate = small().next_hop(&sink).run();
    gate.client().send_until_refused(ACCOUNT, 9);
    let browser = Browser::start("en-US");
    sign_in(&browser, &gate, &operator(&gate), "/accounts/a%40shop.example");
    assert_eq!(browser.path(), "/accounts/a%40shop.example");
    assert_eq!(browser.text("h1"), ACCOUNT);
    // The very numbers of explain and of the refusal.
    let refusal = gate.json(&["explain", ACCOUNT])["last_refusal"]["reply"].clone();
    assert_eq!(browser.text("#refusal .code"), refusal.as_str().unwrap());
    assert!(browser.text("#limits").contains("5 of 5"), "{}", browser.text("#limits"));

    browser.click(".title .actions a[href$='/suspend']");
    browser.press("button[type=submit].grave");
    assert!(browser.path().ends_with("/suspend"), "no reason, no suspension: {}", browser.path());
    browser.fill("#reason", "spam wave <b>seen</b>");
    browser.click("button[type=submit].grave");
    assert_eq!(browser.path(), "/accounts/a%40shop.example?done=suspended");
    assert!(browser.text("#state").contains("spam wave <b>seen</b>"), "{}", browser.text("#state"));
    let shown = gate.json(&["account", "show", ACCOUNT]);
    assert_eq!((&shown["state"], &shown["actor"]), (&"suspended".into(), &"token desk".into()));
    browser.open(&page(&gate, "/"));
    let panel = browser.text("#suspended");
    let case = shown["case"].as_str().unwrap();
    assert!(panel.contains(ACCOUNT) && panel.contains(case), "{panel}");

    browser.click("#suspended a[href$='/resume']");
    browser.fill("#reason", "password changed");
    browser.click("button[type=submit].main");
    assert_eq!(gate.json(&["account", "show", ACCOUNT])["state"], "active");
    gate.logged("resumed", |line| {
        line["reason"] == "password changed" && line["actor"] == "token desk"
    });
    wait_for("the audit's panel", || {
        browser.open(&page(&gate, "/"));
        browser.text("#audit").contains("password changed").then_some(())
    });
    // What became of a message, looked for by its recipient; who looked stands in the audit, and not in an address.
    browser.open(&page(&gate, "/trace"));
    browser.fill("#of", "someone@remote.example");
    browser.click("main button[type=submit]");
    assert_eq!(browser.path(), "/trace");
    assert!(browser.text("#found").contains(ACCOUNT), "{}", browser.text("main"));
    browser.open(&page(&gate, "/audit?action=traced"));
    assert!(browser.text("#rows").contains("someone@remote.example"), "{}", browser.text("#rows"));
    assert_quiet(&browser);

    browser.click("form[action='/logout'] button");
    assert_eq!(browser.path(), "/login?why=left");
    browser.open(&page(&gate, "/accounts"));
    assert!(browser.path().starts_with("/login"), "{}", browser.path());
}

#[test]
fn a_tenant_sees_its_own_page_in_its_language_and_no_other() {
    let sink = sink().run();
    let gate = small().next_hop(&sink).run();
    gate.client().send_until_refused(ACCOUNT, 9);
    gate.client().send("b@else.example", &["x@remote.example"], "text");
    let secret = token(&gate, "shop", &["--role", "tenant", "--tenant", "shop.example"]);
    gate.logged("refused", |line| line["account"] == ACCOUNT);
    let browser = Browser::start("id-ID,id");
    sign_in(&browser, &gate, &secret, "/");
    assert_eq!(browser.path(), "/tenants/shop.example");
    assert_eq!(browser.script("return document.documentElement.lang"), "id");
    wait_for("the account and its refusal", || {
        browser.open(&page(&gate, "/"));
        (browser.text("#accounts").contains(ACCOUNT)
            && browser.text("#refusals").contains("Batas pengiriman sudah terpakai habis"))
        .then_some(())
    });
    let accounts = browser.text("#accounts");
    assert!(
        accounts.contains("5 dari 5") && accounts.contains("penerima dalam 1 jam"),
        "{accounts}"
    );
    assert!(browser.text("#own").contains("5 dari 40"), "{}", browser.text("#own"));
    browser.click(".who a[hreflang=en]");
    assert_eq!(browser.path(), "/tenants/shop.example");
    assert_eq!(browser.script("return document.documentElement.lang"), "en");
    assert!(browser.text("#accounts").contains("5 of 5"), "{}", browser.text("#accounts"));

    // What is suspended is told with what to do.
    gate.tollgate(&["account", "suspend", ACCOUNT, "--reason", "password stolen"]).well();
    browser.open(&page(&gate, "/"));
    let state = browser.text("#state");
    assert!(
        state.contains("password stolen") && state.contains("abuse@provider.example"),
        "{state}"
    );
    assert_quiet(&browser);

    for path in [
        "/tenants/else.example",
        "/accounts",
        "/accounts/b%40else.example",
        "/events",
        "/audit",
        "/tenants",
        "/accounts/a%40shop.example",
        "/accounts/a%40shop.example/resume",
    ] {
        browser.open(&page(&gate, path));
        let text = browser.text("main");
        assert!(!text.contains("else.example"), "{path}: {text}");
        let refused = ["This is not for your token", "There is nothing here"];
        assert!(refused.iter().any(|title| text.contains(title)), "{path}: {text}");
        // That the page is refused stands in the console, too.
        browser.console();
    }
    gate.tollgate(&["token", "revoke", "shop"]).well();
    browser.open(&page(&gate, "/"));
    assert!(browser.path().starts_with("/login"), "a revoked token ends its sessions");
}

#[test]
fn offences_holds_and_leaving_are_told_to_whom_they_concern() {
    let sink = sink().run();
    let gate = small().set("offences.repeated", 2).next_hop(&sink).run();
    gate.client().send(ACCOUNT, &["x@remote.example"], "text");
    for account in [ACCOUNT, "b@shop.example"] {
        gate.tollgate(&["account", "suspend", account, "--reason", "sends spam"]).well();
    }
    gate.tollgate(&["account", "close", ACCOUNT, "--reason", "wants to go"]).well();
    gate.tollgate(&["privacy", "hold", ACCOUNT, "--reason", "court order 7/2026"]).well();
    let both = || gate.json(&["offences", "shop.example"])["offences"].as_array().unwrap().len();
    wait_for("the offences", || (both() == 2).then_some(()));
    let offences = gate.json(&["offences", "shop.example"]);
    let newest = offences["offences"][0]["number"].to_string();

    let browser = Browser::start("en-US");
    sign_in(&browser, &gate, &operator(&gate), "/accounts/a%40shop.example");
    let state = browser.text("#state");
    for told in ["Closed: account a@shop.example", "court order 7/2026", "not before the legal"] {
        assert!(state.contains(told), "{told}: {state}");
    }
    let facts = browser.text("dl.facts");
    assert!(facts.contains("1 that count"), "{facts}");
    browser.click("dl.facts a[href$='#offences-title']");
    assert_eq!(browser.path(), "/tenants/shop.example");
    let (state, offences) = (browser.text("#state"), browser.text("#offences"));
    assert!(state.contains("propose to cancel") && !state.contains("court"), "{state}");
    assert!(offences.contains("sends spam") && offences.contains("counts until"), "{offences}");
    let withdraw = ["offences", "shop.example", "--withdraw", &newest, "--reason", "no spam"];
    gate.tollgate(&withdraw).well();

    // The tenant reads what happened and until when it counts, and neither of the hold nor of the proposal.
    let secret = token(&gate, "shop", &["--role", "tenant", "--tenant", "shop.example"]);
    let browser = Browser::start("id-ID,id");
    sign_in(&browser, &gate, &secret, "/");
    let offences = browser.text("#offences");
    for told in ["Ditangguhkan", "dihitung sampai", "keliru, tidak dihitung", "b@shop.example"] {
        assert!(offences.contains(told), "{told}: {offences}");
    }
    let accounts = browser.text("#accounts");
    assert!(accounts.contains("Data yang tersimpan dihapus setelah"), "{accounts}");
    let all = browser.text("main");
    assert!(!all.contains("court") && !all.contains("propose"), "{all}");
    gate.tollgate(&["tenant", "close", "shop.example", "--reason", "all of it"]).well();
    check_page(&browser, &gate, "/tenants/shop.example", &LOOKS);
    assert!(browser.text("#state").contains("ditutup"), "{}", browser.text("#state"));
}

#[test]
fn every_page_can_be_read_and_used_by_everybody() {
    let sink = sink().run();
    let gate = small().next_hop(&sink).run();
    let browser = Browser::start("en-US");
    check_page(&browser, &gate, "/login", &LOOKS);
    sign_in(&browser, &gate, &operator(&gate), "/");
    // First with nothing to show, then with something of everything.
    for path in
        ["/", "/accounts", "/tenants", "/events", "/audit?action=nothing", "/tenants/new.example"]
    {
        check_page(&browser, &gate, path, &[(Scheme::Dark, Screen::Phone)]);
    }
    gate.client().send_until_refused(ACCOUNT, 9);
    gate.client().send("b@shop.example", &["x@remote.example", "y@remote.example"], "text");
    gate.tollgate(&["account", "suspend", "b@shop.example", "--reason", "spam"]).well();
    gate.tollgate(&["tenant", "suspend", "else.example", "--reason", "not paid"]).well();
    gate.tollgate(&["tenant", "close", "else.example", "--reason", "not paid"]).well();
    gate.tollgate(&["privacy", "hold", "--tenant", "else.example", "--reason", "a court"]).well();
    gate.tollgate(&["account", "close", "b@shop.example", "--reason", "spam"]).well();
    let limit = "account recipients 1h=9";
    gate.tollgate(&[
        "account", "set", ACCOUNT, "--limit", limit, "--until", "7d", "--reason", "a moment",
    ])
    .well();
    wait_for("the events", || {
        browser.open(&page(&gate, "/audit"));
        browser.text("main").contains("a moment").then_some(())
    });
    for path in PAGES {
        check_page(&browser, &gate, path, &LOOKS);
    }
    browser.open(&page(&gate, "/language?to=id&back=/tenants/shop.example"));
    check_page(&browser, &gate, "/tenants/shop.example", &LOOKS);
}

const PAGES: [&str; 14] = [
    "/",
    "/trace",
    "/alerts",
    "/listings",
    "/accounts",
    "/accounts/a%40shop.example",
    "/accounts/b%40shop.example",
    "/accounts/b%40shop.example/resume",
    "/accounts/a%40shop.example/suspend",
    "/tenants",
    "/tenants/shop.example",
    "/tenants/else.example",
    "/events",
    "/audit",
];

#[test]
fn what_is_on_blocklists_is_told_in_words() {
    let faults = std::sync::Arc::new(Faults::new());
    let says = |name: &str| match name.split_once(".0.") {
        Some(("2", _)) => Says::Codes(&["127.0.0.2"]),
        _ if name.starts_with("25.2.0.192.") => Says::Codes(&["127.0.0.2"]),
        _ => Says::NoName,
    };
    let server = Names::start(&faults, says);
    let (folder, sink) = (tempfile::TempDir::new().unwrap(), sink().run());
    let watched = ["192.0.2.25", "192.0.2.26"];
    let file: String = ["own", "other"].map(|name| blocklists::list(name, "\"ipv4\"")).concat();
    let gate = small()
        .faults(&faults)
        .next_hop(&sink)
        .blocklists(&folder, &file, (server.address, &["own", "other"]), &watched)
        .run();
    let mut ahead = 0;
    wait_for("the listings", || {
        ahead += 20_000;
        faults.set_wall_clock(ahead);
        std::thread::sleep(std::time::Duration::from_millis(300));
        let told = gate.log().iter().filter(|line| line["event"] == "listed").count();
        (told == 2).then_some(())
    });
    let browser = Browser::start("en-US");
    sign_in(&browser, &gate, &operator(&gate), "/listings");
    wait_for("the matrix", || {
        browser.open(&page(&gate, "/listings"));
        browser.text("#matrix").contains("listed").then_some(())
    });
    let (matrix, details) = (browser.text("#matrix"), browser.text("#details"));
    assert!(matrix.contains("192.0.2.26") && matrix.contains("clean"), "{matrix}");
    assert!(details.contains("a source of spam") && details.contains("127.0.0.2"), "{details}");
    assert!(browser.text("#lists").contains("for tests"), "{}", browser.text("#lists"));
    for path in ["/", "/listings"] {
        check_page(&browser, &gate, path, &LOOKS);
    }
    assert!(browser.text("#matrix").contains("listed"));
}

/// In the light, in the dark, and on a phone.
const LOOKS: [(Scheme, Screen); 3] =
    [(Scheme::Light, Screen::Desk), (Scheme::Dark, Screen::Desk), (Scheme::Light, Screen::Phone)];

/// Looks at a page in some ways: no finding of axe-core, no complaint of the console, nothing that is cut off.
#[track_caller]
fn check_page(browser: &Browser, gate: &Gate, path: &str, looks: &[(Scheme, Screen)]) {
    for &(scheme, screen) in looks {
        browser.prefer(scheme, screen);
        browser.open(&page(gate, path));
        assert_quiet(browser);
        let found = browser.axe();
        assert!(found.is_empty(), "{path}, {scheme:?}, {screen:?}: {found:#?}");
        let wide = browser.script("return document.documentElement.scrollWidth").as_u64();
        assert!(wide <= Some(screen.size().0.into()), "{path} is {wide:?} px wide, {screen:?}");
        browser.console();
    }
}

#[test]
fn a_page_renews_itself_and_reads_the_same_without_scripts() {
    let sink = sink().run();
    let gate = small().next_hop(&sink).run();
    let browser = Browser::start("en-US");
    sign_in(&browser, &gate, &operator(&gate), "/events");
    assert!(browser.text("footer").contains("Live updates are on."), "{}", browser.text("footer"));
    browser.script("window.sameDocument = true");
    gate.client().send(ACCOUNT, &["x@remote.example"], "text");
    wait_for("the page to renew itself", || {
        browser.has("#rows li").then(|| browser.text("#rows").contains(ACCOUNT)).filter(|&is| is)
    });
    assert_eq!(browser.script("return window.sameDocument"), true);
    assert_quiet(&browser);

    browser.without_scripts();
    browser.open(&page(&gate, "/accounts/a%40shop.example"));
    assert!(browser.text("#limits").contains("1 of 5"), "{}", browser.text("#limits"));
    assert!(!browser.text("footer").contains("Live updates"), "{}", browser.text("footer"));
    browser.click(".title .actions a[href$='/suspend']");
    browser.fill("#reason", "without a script");
    browser.click("button[type=submit].grave");
    assert_eq!(gate.json(&["account", "show", ACCOUNT])["state"], "suspended");
}

#[test]
fn who_may_only_read_changes_nothing() {
    let sink = sink().run();
    let gate = small().next_hop(&sink).run();
    gate.client().send(ACCOUNT, &["x@remote.example"], "text");
    let browser = Browser::start("en-US");
    let secret = token(&gate, "wall", &["--role", "read-only"]);
    sign_in(&browser, &gate, &secret, "/accounts/a%40shop.example");
    assert!(!browser.has("a[href$='/suspend']"));
    browser.open(&page(&gate, "/accounts/a%40shop.example/suspend"));
    assert!(browser.text("main").contains("This is not for your token"));
    assert_eq!(gate.json(&["account", "show", ACCOUNT])["state"], "active");
}

#[test]
fn forms_of_other_sites_and_sessions_change_nothing() {
    let sink = sink().run();
    let gate = small().next_hop(&sink).run();
    let secret = operator(&gate);
    let browser = Browser::start("en-US");
    sign_in(&browser, &gate, &secret, "/");
    // A page of another origin (another port is one) that sends the browser's form with whatever it can.
    let form = format!(
        "<form id=f method=post action='{}'><input name=reason value=x><input name=form_key value=y></form>",
        page(&gate, "/accounts/a%40shop.example/suspend")
    );
    browser.open(&format!("data:text/html,{}", form.replace('#', "%23")));
    browser.script("document.getElementById('f').submit()");
    wait_for("the answer", || {
        browser.text("body").contains("The form is out of date").then_some(())
    });
    // A form of our own with another session's key.
    browser.open(&page(&gate, "/accounts/a%40shop.example/suspend"));
    browser.script("document.querySelector('main [name=form_key]').value = 'x'.repeat(43)");
    browser.fill("#reason", "stolen form");
    browser.click("button[type=submit].grave");
    assert!(browser.text("main").contains("The form is out of date"), "{}", browser.text("main"));
    assert_eq!(gate.json(&["account", "show", ACCOUNT])["state"], "active");
    // No page can read the cookie, and every answer protects itself.
    browser.open(&page(&gate, "/"));
    assert_eq!(browser.script("return document.cookie"), "");
}

#[test]
fn wrong_tokens_are_refused_and_paced() {
    let sink = sink().run();
    let gate = small().set("api.failures_per_minute", 3).next_hop(&sink).run();
    let browser = Browser::start("id");
    browser.open(&page(&gate, "/"));
    for attempt in 1..=4 {
        browser.fill("#token", "tollgate_wrong");
        browser.click("button[type=submit].main");
        let said = browser.text("#notice");
        let expected = if attempt <= 3 { "tidak berlaku" } else { "Terlalu banyak percobaan" };
        assert!(said.contains(expected), "{attempt}: {said}");
    }
    gate.logged("token-refused", |line| line["reason"] == "malformed");
    // The right one is let in all the same.
    browser.fill("#token", &operator(&gate));
    browser.click("button[type=submit].main");
    assert_eq!(browser.path(), "/");
}

/// The answer of curl, with its header.
fn curl(arguments: &[&str]) -> String {
    programs::run("curl", &[&["-sik", "--max-time", "20"], arguments].concat()).well()
}

#[test]
fn every_answer_protects_itself_and_the_session() {
    let sink = sink().run();
    let gate = small().next_hop(&sink).run();
    let secret = operator(&gate);
    let all = |answer: &str, wanted: &[&str]| {
        let answer = answer.to_lowercase();
        for header in wanted {
            assert!(answer.contains(&header.to_lowercase()), "{header} is missing in {answer}");
        }
    };
    let form = format!("token={secret}");
    let answer = curl(&["-d", &form, &page(&gate, "/login")]);
    all(
        &answer,
        &["303 See Other", "set-cookie: tollgate=", "; HttpOnly", "; SameSite=Strict", "; Path=/"],
    );
    assert!(!answer.contains("Secure") && !answer.contains(&secret), "{answer}");
    let cookie = answer.split("tollgate=").nth(1).and_then(|rest| rest.split(';').next()).unwrap();
    let forwarded = curl(&["-H", "X-Forwarded-Proto: https", "-d", &form, &page(&gate, "/login")]);
    all(
        &forwarded,
        &["set-cookie: __Host-tollgate=", "; Secure", "; HttpOnly", "; SameSite=Strict"],
    );
    for path in ["/", "/accounts/a%40shop.example", "/login", "/nothing", "/accounts/%20"] {
        let answer = curl(&["-b", &format!("tollgate={cookie}"), &page(&gate, path)]);
        all(
            &answer,
            &[
                "content-security-policy: default-src 'none'; style-src 'self'; script-src 'self'",
                "frame-ancestors 'none'",
                "x-content-type-options: nosniff",
                "referrer-policy: same-origin",
                "cache-control: no-store",
            ],
        );
        assert!(!answer.contains("style=\"") && !answer.contains("onclick"), "{answer}");
    }
    let answer = curl(&[&page(&gate, "/accounts")]);
    all(&answer, &["303 See Other", "location: /login?to=%2Faccounts"]);
    // What is wrong is told, and leads nowhere else.
    let answer = curl(&["-d", &format!("{form}&to=//evil.example/"), &page(&gate, "/login")]);
    all(&answer, &["location: /\r\n"]);
}

#[test]
fn behind_tls_the_cookie_is_for_this_host_alone() {
    let sink = sink().run();
    let gate = small().set("api.tls", true).next_hop(&sink).run();
    let form = format!("token={}", operator(&gate));
    let answer = curl(&["-d", &form, &page(&gate, "/login").replace("http:", "https:")]);
    assert!(answer.contains("__Host-tollgate=") && answer.contains("; Secure"), "{answer}");
}
