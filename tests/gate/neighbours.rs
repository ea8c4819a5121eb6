//! Next hops that misbehave at every step: what the client hears, what is charged, and what becomes of the connection.
//!
//! Each case is played twice: once on every connection, once on the first one only. The outcome stands as a table in
//! docs/smtp-replies.md, made by this test; `UPDATE=1` rewrites it.

use crate::{
    operators::{limit, used},
    support::{
        Client, Gate, Reply, at_once,
        authority::{Certificate, HOP_NAME},
        bad_hop::{Act, BadHop, Flow, HangUp, Message, Script, Step, bad_hop, script},
        gate,
        settings::Settings,
        sink, wait_for,
    },
};
use socket2::SockRef;
use std::{
    collections::BTreeSet,
    fs,
    net::{Shutdown, TcpStream},
    panic::{AssertUnwindSafe, catch_unwind},
    path::Path,
    sync::Mutex,
    thread,
    time::Duration,
};
use tollgate::clock::steady_now;

/// A next hop, and what it is asked to do wrong.
struct Case {
    door: Door,
    at: &'static str,
    does: &'static str,
    script: Script,
    mail: &'static str,
    text_bytes: usize,
    before: Before,
}

/// What the connection to the next hop has seen before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Before {
    Nothing,
    /// An envelope that was given up.
    Envelope,
    /// A message.
    Message,
}

/// How the gate is told to talk to the next hop.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Door {
    Plain,
    Required,
    Opportunistic,
    Implicit,
    Login,
}

/// What came of one message.
struct Outcome {
    heard: String,
    charged: u64,
    /// The first connection, which misbehaved, was used for the next message too.
    kept: bool,
}

/// How often the hop misbehaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Often {
    Always,
    Once,
}

#[test]
fn whatever_a_next_hop_does_the_client_hears_the_truth() {
    let cases = cases();
    let groups: Vec<Vec<usize>> = groups(&cases);
    let rows = Mutex::new(vec![None; cases.len()]);
    thread::scope(|scope| {
        for group in &groups {
            let (cases, rows) = (&cases, &rows);
            scope.spawn(move || {
                let (hop, gate) = stage(cases[group[0]].door);
                for &number in group {
                    let play = || cases[number].play(number, &hop, &gate);
                    // A case that fails must not hide the others.
                    let row = catch_unwind(AssertUnwindSafe(play)).ok();
                    rows.lock().unwrap()[number] = row;
                }
            });
        }
    });
    let outcomes: Vec<Option<String>> = rows.into_inner().unwrap();
    let failed = outcomes.iter().filter(|outcome| outcome.is_none()).count();
    assert_eq!(failed, 0, "cases failed; see the panics above");
    check_table(&table(&cases, &outcomes));
}

/// What has the same outcome at the same place stands in one row.
fn table(cases: &[Case], outcomes: &[Option<String>]) -> String {
    let mut rows: Vec<(String, Vec<&str>, &str)> = vec![];
    for (case, outcome) in cases.iter().zip(outcomes) {
        let (at, outcome) = (format!("{}{}", case.door.name(), case.at), outcome.as_deref());
        let outcome = outcome.unwrap_or_default();
        match rows.iter_mut().find(|row| row.0 == at && row.2 == outcome) {
            Some(row) => row.1.push(case.does),
            None => rows.push((at, vec![case.does], outcome)),
        }
    }
    let rows = rows
        .iter()
        .map(|(at, does, outcome)| format!("| {at} | {} | {outcome} |\n", does.join("; ")));
    rows.fold(TABLE_HEAD.to_owned(), |table, row| table + &row)
}

/// The cases' numbers, those of one door together, the plain ones shared by several gates.
fn groups(cases: &[Case]) -> Vec<Vec<usize>> {
    let numbers =
        |wanted: Door| (0..cases.len()).filter(move |&number| cases[number].door == wanted);
    let mut groups = vec![vec![]; PLAIN_GATES];
    numbers(Door::Plain).for_each(|number| groups[number % PLAIN_GATES].push(number));
    for door in [Door::Required, Door::Opportunistic, Door::Implicit, Door::Login] {
        groups.push(numbers(door).collect());
    }
    groups
}

fn stage(door: Door) -> (BadHop, Gate) {
    let hop = bad_hop();
    hop.play(door.good());
    let believe =
        format!("verify = true\ntls_name = \"{HOP_NAME}\"\ntls_ca = {:?}", hop.authority());
    let keys = match door {
        Door::Plain => String::new(),
        Door::Required => format!("tls = \"required\"\n{believe}"),
        Door::Opportunistic => "tls = \"opportunistic\"".to_owned(),
        Door::Implicit => format!("tls = \"implicit\"\n{believe}"),
        Door::Login => "login = \"gate\"\npassword = \"secret\"".to_owned(),
    };
    let gate = impatient(gate())
        .limit(1000, "1h")
        .scoped_limit("tenant", "recipients", 100_000, "1h")
        .next_hop_at(hop.address(), &keys)
        .run();
    // The gate asks every hop at its start; from here on it connects only for a message.
    assert!(send(&gate, "first@shop.example", "", 10, "the first").is_sent());
    hop.start_over(door.good());
    (hop, gate)
}

/// Short waits, and no circuit breaker, so that every case meets the hop.
fn impatient(mut settings: Settings) -> Settings {
    for (key, wait) in [
        ("timeout_connect", "1500ms"),
        ("timeout_tls", "1500ms"),
        ("timeout_command", "1500ms"),
        ("timeout_data", "1500ms"),
        ("timeout_final", "2500ms"),
        ("timeout_after_dot", "10s"),
        ("breaker_wait", "40ms"),
        ("breaker_wait_max", "40ms"),
        ("probe_every", "1h"),
    ] {
        settings = settings.set(&format!("next_hop.{key}"), wait);
    }
    settings.set("next_hop.breaker_failures", 1000)
}

impl Case {
    /// Plays it both ways; returns the right part of its row of the table.
    fn play(&self, number: usize, hop: &BadHop, gate: &Gate) -> String {
        let always = self.outcome(number, hop, gate, Often::Always);
        let once = self.outcome(number, hop, gate, Often::Once);
        let connection = if once.kept { "kept" } else { "closed" };
        format!(
            "{} | {} | {} | {} | {connection}",
            always.heard, always.charged, once.heard, once.charged
        )
    }

    fn outcome(&self, number: usize, hop: &BadHop, gate: &Gate, often: Often) -> Outcome {
        let what = format!("{:?} {} / {} / {often:?}", self.door, self.at, self.does);
        if !self.mail.is_empty() {
            // The gate offers what it saw last.
            hop.start_over(self.door.good());
            send(gate, "first@shop.example", "", 10, &what);
        }
        hop.start_over(match often {
            Often::Always => self.script.clone(),
            Often::Once => self.script.clone().only(1, self.door.good()),
        });
        match self.before {
            Before::Nothing => {}
            Before::Envelope => give_up(gate),
            Before::Message => _ = send(gate, "first@shop.example", "", 10, &what),
        }
        let account = format!("{often:?}-{number}@shop.example").to_lowercase();
        let begin = steady_now();
        let heard = send(gate, &account, self.mail, self.text_bytes, &what);
        assert!(steady_now() - begin < ANSWER_MAX, "{what}: the answers took too long");
        let charged = used(gate, &account);
        check_truth(&heard, charged, &texts_of(hop, &account), &what);

        hop.behave(self.door.good());
        let before = hop.connections();
        let honest = format!("honest-{account}");
        let after = send(gate, &honest, "", 10, &what);
        let texts = texts_of(hop, &honest);
        assert!(
            after.is_sent() && texts.len() == 1,
            "{what}: the next message: {}",
            after.summary()
        );
        let last = texts[0].connection;
        let kept = last == 1 && before > 0;
        Outcome { heard: heard.summary(), charged, kept }
    }
}

impl Door {
    fn good(self) -> Script {
        match self {
            Self::Plain | Self::Opportunistic => script(),
            Self::Required => script().starttls(Certificate::Right),
            Self::Implicit => script().implicit_tls(Certificate::Right),
            Self::Login => script().offering(&["PIPELINING", "AUTH PLAIN"]),
        }
    }

    const fn name(self) -> &'static str {
        match self {
            Self::Plain => "",
            Self::Required => "`tls = \"required\"`, ",
            Self::Opportunistic => "`tls = \"opportunistic\"`, ",
            Self::Implicit => "`tls = \"implicit\"`, ",
            Self::Login => "with a login, ",
        }
    }
}

/// The answers to one message.
struct Heard {
    recipients: Vec<Reply>,
    text: Option<Reply>,
}

/// One message of two recipients, its envelope in one packet; the session must be in step afterwards.
fn send(gate: &Gate, account: &str, parameters: &str, text_bytes: usize, what: &str) -> Heard {
    let mut client = gate.client();
    let envelope = format!(
        "MAIL FROM:<{account}>{parameters}\r\nRCPT TO:<one@remote.example>\r\nRCPT TO:<two@remote.example>\r\n"
    );
    client.write(envelope.as_bytes());
    assert_eq!(client.reply().code, 250, "{what}: MAIL");
    let recipients: Vec<Reply> = (0..2).map(|_| client.reply()).collect();
    let is_open = recipients.iter().any(|reply| reply.code / 100 == 2);
    let line = format!("{}\n", "x".repeat(text_bytes.min(900)));
    let text = is_open.then(|| client.text(&line.repeat(text_bytes.div_ceil(line.len()))));
    recipients.iter().chain(&text).for_each(|reply| check_form(reply, what));
    client.expect(if is_open { 250 } else { 554 }, if is_open { "NOOP" } else { "DATA" });
    Heard { recipients, text }
}

/// An envelope that the next hop has and that is not followed by a text.
fn give_up(gate: &Gate) {
    let mut client = gate.client();
    client.expect(250, "MAIL FROM:<first@shop.example>");
    client.expect(250, "RCPT TO:<one@remote.example>");
    client.expect(250, "RSET");
}

impl Heard {
    fn is_sent(&self) -> bool {
        self.text.as_ref().is_some_and(|reply| reply.code / 100 == 2)
    }

    fn is_unknown(&self) -> bool {
        self.text.as_ref().is_some_and(|reply| reply.lines[0].starts_with("4.4.2 "))
    }

    fn summary(&self) -> String {
        let refused = |reply: &Reply| reply.code / 100 != 2;
        let all_alike = self.recipients.iter().all(|reply| *reply == self.recipients[0]);
        let mut parts = vec![];
        for (index, reply) in self.recipients.iter().enumerate().filter(|(_, r)| refused(r)) {
            match all_alike {
                true if index > 0 => {}
                true => parts.push(format!("RCPT {}", short(reply))),
                false => parts.push(format!("RCPT {} {}", index + 1, short(reply))),
            }
        }
        parts.extend(self.text.as_ref().map(|reply| format!("text {}", short(reply))));
        parts.join(", ")
    }
}

/// The code and the enhanced status.
fn short(reply: &Reply) -> String {
    let status = reply.lines[0].split(' ').next().unwrap_or_default();
    format!("`{} {status}`", reply.code)
}

/// RFC 5321 §4.2 and §4.5.3.1.5, RFC 2034 §4.
fn check_form(reply: &Reply, what: &str) {
    let class = reply.code / 100;
    assert!(matches!(class, 2 | 4 | 5), "{what}: {reply}");
    for line in &reply.lines {
        assert!(line.starts_with(&format!("{class}.")), "{what}: {reply}");
        assert!(
            line.len() <= 506 && line.bytes().all(|b| (b' '..=b'~').contains(&b)),
            "{what}: {line:?}"
        );
    }
    assert!(reply.text().len() <= 2500, "{what}: {} octets of text", reply.text().len());
}

/// Promise 1: whatever the hop may have is charged, and nothing else.
fn check_truth(heard: &Heard, charged: u64, texts: &[Message], what: &str) {
    let expected = check_heard(heard, texts, what);
    assert_eq!(charged, expected, "{what}: {}", heard.summary());
}

/// Promise 2: 250 if and only if the hop took the message, once. Returns what must be charged.
fn check_heard(heard: &Heard, texts: &[Message], what: &str) -> u64 {
    let summary = heard.summary();
    assert!(texts.len() <= 1, "{what}: {summary}, but the hop has it {} times", texts.len());
    let accepted = texts.iter().any(|message| message.accepted);
    assert_eq!(heard.is_sent(), accepted, "{what}: the client heard {summary}");
    let granted = heard.recipients.iter().filter(|reply| reply.code / 100 == 2).count();
    if accepted {
        assert_eq!(texts[0].taken.recipients.len(), granted, "{what}: {summary}");
    }
    if accepted || heard.is_unknown() { u64::try_from(granted).unwrap() } else { 0 }
}

fn texts_of(hop: &BadHop, account: &str) -> Vec<Message> {
    let sender = format!("<{account}>");
    hop.messages().into_iter().filter(|message| message.taken.mail.contains(&sender)).collect()
}

fn check_table(table: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/smtp-replies.md");
    let page = fs::read_to_string(&path).unwrap();
    let (before, rest) = page.split_once(TABLE_BEGIN).expect("the page has a place for the table");
    let (stands, after) = rest.split_once(TABLE_END).expect("the table ends");
    if std::env::var_os("UPDATE").is_some() {
        fs::write(&path, format!("{before}{TABLE_BEGIN}{table}{TABLE_END}{after}")).unwrap();
    } else {
        let lines = |text: &str| text.lines().map(str::to_owned).collect::<BTreeSet<_>>();
        let (stands, made) = (lines(stands), lines(table));
        let differ: Vec<_> = stands.symmetric_difference(&made).collect();
        assert!(
            differ.is_empty(),
            "docs/smtp-replies.md differs (UPDATE=1 rewrites it):\n{differ:#?}"
        );
    }
}

const TABLE_BEGIN: &str = "<!-- made by tests/gate/neighbours.rs -->\n";
const TABLE_END: &str = "<!-- end of what is made -->\n";
const TABLE_HEAD: &str = "\n| At | The next hop | It does so always: the client hears | Charged | Only on the first connection: the client hears | Charged | That connection |\n|---|---|---|---|---|---|---|\n";
/// Plain cases are shared by so many gates.
const PLAIN_GATES: usize = 8;
/// With the waits of [`impatient`].
const ANSWER_MAX: Duration = Duration::from_secs(20);

/// Ends every connection after each octet of the dialogue.
#[test]
fn wherever_a_next_hop_hangs_up_nothing_is_lost_doubled_or_uncharged() {
    let plain = (Door::Plain, script().offering(&["PIPELINING"]), 1);
    let tls = (Door::Required, script().starttls(Certificate::Right), 11);
    let mut sweeps = vec![];
    for (door, good, step) in [plain, tls] {
        for flow in [Flow::In, Flow::Out] {
            for how in [HangUp::Fin, HangUp::Rst] {
                sweeps.push(Sweep { door, good: good.clone(), flow, how, step });
            }
        }
    }
    thread::scope(|scope| {
        for sweep in &sweeps {
            scope.spawn(|| sweep.run());
        }
    });
}

/// Many clients at once, and every connection to the hop ends in another misfortune.
#[test]
fn no_answer_ever_belongs_to_another_message() {
    let (hop, gate) = stage(Door::Plain);
    let is_quick =
        |case: &Case| case.text_bytes < 1000 && case.mail.is_empty() && case.script.listens();
    let mut scripts: Vec<Script> = cases()
        .into_iter()
        .filter(|case| case.door == Door::Plain && is_quick(case))
        .enumerate()
        .map(|(number, case)| case.script.after(number % 3))
        .collect();
    // Neighbours in the list are much alike; a stride that shares no factor with its length mixes them.
    let order =
        (0..scripts.len()).map(|number| number * 101 % scripts.len()).collect::<BTreeSet<_>>();
    assert_eq!(order.len(), scripts.len(), "the stride misses some");
    scripts =
        (0..scripts.len()).map(|number| scripts[number * 101 % scripts.len()].clone()).collect();
    hop.play_in_turn(scripts);
    let results = at_once(CLIENTS, |client| {
        let accounts = (0..MESSAGES_EACH).map(|number| format!("m{number}@c{client}.example"));
        let hear = |account: String| (send(&gate, &account, "", 10, &account), account);
        let heard: Vec<_> = accounts.map(hear).collect();
        let charged = heard
            .iter()
            .map(|(heard, account)| check_heard(heard, &texts_of(&hop, account), account))
            .sum::<u64>();
        let usage = gate.json(&["usage", &heard[0].1]);
        assert_eq!(
            limit(&usage, "tenant", "1 h")["used"].as_u64(),
            Some(charged),
            "client {client}"
        );
        heard
    });
    let results: Vec<_> = results.into_iter().flatten().collect();
    let sent = results.iter().filter(|(heard, _)| heard.is_sent()).count();
    let unknown = results.iter().filter(|(heard, _)| heard.is_unknown()).count();
    assert!(
        sent > results.len() / 4 && unknown > 0,
        "{sent} sent, {unknown} unknown of {}",
        results.len()
    );
}

const CLIENTS: usize = 8;
const MESSAGES_EACH: usize = 300;

struct Sweep {
    door: Door,
    good: Script,
    flow: Flow,
    how: HangUp,
    step: usize,
}

impl Sweep {
    fn run(&self) {
        let (hop, gate) = stage(self.door);
        let (mut charged, mut passed_uncut) = (0, 0);
        for octets in (0..OCTETS_MAX).step_by(self.step) {
            let cut = self.good.clone().cut(self.flow, octets, self.how);
            let script = if octets % 2 == 0 { cut } else { cut.only(1, self.good.clone()) };
            let what =
                format!("{:?}, {:?} after {octets} octets {:?}", self.door, self.how, self.flow);
            hop.start_over(script);
            let heard = send(&gate, SWEPT, "", 10, &what);
            charged += self.check(&heard, &hop.messages(), &what);
            // Two in a row (one of each kind) on the first connection: the dialogue is shorter than the cut.
            let is_whole = heard.is_sent() && hop.connections() == 1;
            passed_uncut = if is_whole { passed_uncut + 1 } else { 0 };
            if passed_uncut == 2 {
                break;
            }
        }
        assert_eq!(passed_uncut, 2, "the dialogue is longer than {OCTETS_MAX} octets");
        assert_eq!(used(&gate, SWEPT), charged, "{:?} {:?} {:?}", self.door, self.flow, self.how);
    }

    /// Returns what must be charged.
    fn check(&self, heard: &Heard, texts: &[Message], what: &str) -> u64 {
        let summary = heard.summary();
        let accepted = texts.iter().filter(|message| message.accepted).count();
        assert!(texts.len() <= 1, "{what}: {summary}, but the hop has it {} times", texts.len());
        let (sent, unknown) = (heard.is_sent(), heard.is_unknown());
        assert!(!sent || accepted == 1, "{what}: a false {summary}");
        assert!(
            texts.is_empty() || sent || unknown,
            "{what}: the hop has it, uncharged: {summary}"
        );
        // A reset may overtake the answer.
        let is_told = sent || accepted == 0 || self.how == HangUp::Rst;
        assert!(is_told, "{what}: the hop accepted it: {summary}");
        if sent || unknown { 2 } else { 0 }
    }
}

const SWEPT: &str = "swept@shop.example";
/// More than any of the dialogues has, in either direction.
const OCTETS_MAX: usize = 6000;

#[test]
fn after_an_outage_mail_passes_again_within_seconds() {
    let hop = bad_hop();
    let gate = gate().next_hop_at(hop.address(), "").run();
    hop.start_over(script().gone());
    for _ in 0..10 {
        let heard = send(&gate, "a@shop.example", "", 10, "during the outage");
        assert_eq!(heard.summary(), "RCPT `451 4.4.1`");
    }
    gate.logged("next-hop-down", |_| true);
    // Longer than the first waits of the circuit breaker, which grow.
    thread::sleep(Duration::from_secs(4));
    hop.play(script());
    let begin = steady_now();
    wait_for("mail to pass again", || {
        send(&gate, "a@shop.example", "", 10, "after").is_sent().then_some(())
    });
    let took = steady_now() - begin;
    assert!(took < Duration::from_secs(8), "mail passed again only after {took:?}");
    gate.logged("next-hop-up", |_| true);
    assert_eq!(hop.messages().len(), 1);
}

#[test]
fn a_next_hop_that_reads_too_slowly_is_given_up_within_the_time_that_a_client_waits() {
    let hop = bad_hop();
    let settings = impatient(gate()).set("next_hop.timeout_after_dot", "3s");
    let gate = settings.limit(50, "1h").next_hop_at(hop.address(), "").run();
    // Each kilobyte is progress, so that no wait for progress ends it.
    hop.start_over(script().at(Step::Text, Act::Trickle(Duration::from_millis(20))));
    let begin = steady_now();
    let heard = send(&gate, "a@shop.example", "", 16_000_000, "slow");
    assert_eq!(heard.summary(), "text `451 4.4.1`");
    assert!(steady_now() - begin < ANSWER_MAX, "the answer took {:?}", steady_now() - begin);
    assert_eq!((hop.messages().len(), used(&gate, "a@shop.example")), (0, 0));
    hop.behave(script());
    assert!(send(&gate, "a@shop.example", "", 10, "after").is_sent());
}

#[test]
fn a_message_that_its_client_did_not_finish_is_never_delivered() {
    let (hop, gate) = stage(Door::Plain);
    for (number, how) in
        [HangUp::Fin, HangUp::Rst, HangUp::Fin, HangUp::Rst].into_iter().enumerate()
    {
        let account = format!("gone{number}@shop.example");
        let (stream, mut client) = within_data(&gate, &account);
        // Half a line, and all but the last octet of the final dot.
        client.write(if number < 2 { b"Subject: half\r\n\r\nhal" } else { b"whole\r\n.\r" });
        hang_up(stream, client, how);
        gate.logged("message", |line| {
            line["outcome"] == "abandoned" && line["account"] == account.as_str()
        });
        assert_eq!((hop.messages().len(), used(&gate, &account)), (0, 0), "{account}");
    }
    // The hop was never left within DATA: its one connection goes on with the next message.
    assert!(!hop.heard().iter().any(|(_, line)| line == "DATA"), "{:?}", hop.heard());
    assert!(send(&gate, "honest@shop.example", "", 10, "after").is_sent());
    assert_eq!((hop.messages().len(), hop.connections()), (1, 1));
}

/// A client of which the text is awaited, and its socket.
fn within_data(gate: &Gate, account: &str) -> (TcpStream, Client) {
    let stream = TcpStream::connect(gate.smarthost()).unwrap();
    let mut client = Client::over(Box::new(stream.try_clone().unwrap()));
    assert_eq!(client.reply().code, 220);
    client.expect(250, "EHLO client.example");
    client.expect(250, &format!("MAIL FROM:<{account}>"));
    client.expect(250, "RCPT TO:<one@remote.example>");
    client.expect(354, "DATA");
    (stream, client)
}

/// Goes away, in order or with a reset.
fn hang_up(stream: TcpStream, client: Client, how: HangUp) {
    if how == HangUp::Rst {
        SockRef::from(&stream).set_linger(Some(Duration::ZERO)).unwrap();
    }
    drop((stream, client));
}

#[test]
fn a_client_that_only_closed_its_sending_side_hears_the_verdict_and_one_that_is_gone_costs_one_delivery()
 {
    let (hop, gate) = stage(Door::Plain);
    hop.start_over(script().at(Step::Dot, Act::Dawdle(Duration::from_millis(300))));
    for (number, is_gone) in [false, true].into_iter().enumerate() {
        let account = format!("half{number}@shop.example");
        let (stream, mut client) = within_data(&gate, &account);
        client.write(b"text\r\n.\r\n");
        if is_gone {
            hang_up(stream, client, HangUp::Rst);
        } else {
            stream.shutdown(Shutdown::Write).unwrap();
            assert_eq!(client.reply().code, 250);
        }
        gate.logged("message", |line| {
            line["outcome"] == "sent" && line["account"] == account.as_str()
        });
        assert_eq!((texts_of(&hop, &account).len(), used(&gate, &account)), (1, 1), "{account}");
    }
}

#[test]
fn a_replayed_envelope_names_exactly_the_recipients_that_were_accepted() {
    let hop = bad_hop();
    let gate = impatient(gate())
        .set("session.park_after", "50ms")
        .limit(50, "1h")
        .next_hop_at(hop.address(), "")
        .run();
    let refuse = script()
        .at(Step::Rcpt(1), Act::say("450 4.2.1 later"))
        .at(Step::Rcpt(3), Act::say("550 5.1.1 nobody"))
        .at(Step::Rset, Act::Close(HangUp::Fin, vec![]));
    hop.start_over(refuse.only(1, script()));
    let mut client = gate.client();
    client.expect(250, "MAIL FROM:<a@shop.example>");
    for (code, name) in [(450, "one"), (250, "two"), (550, "three"), (250, "four")] {
        client.expect(code, &format!("RCPT TO:<{name}@remote.example>"));
    }
    client.expect(354, "DATA");
    client.write(b"Subject: slow\r\n\r\n");
    // The very thing under test: a client that takes longer than `park_after`.
    thread::sleep(Duration::from_millis(300));
    assert_eq!(client.say(".").code, 250);
    let messages = hop.messages();
    assert_eq!((messages.len(), messages[0].connection), (1, 2));
    let names = ["RCPT TO:<two@remote.example>", "RCPT TO:<four@remote.example>"];
    assert_eq!(messages[0].taken.recipients, names);
    assert_eq!(used(&gate, "a@shop.example"), 2);
}

#[test]
fn one_bad_next_hop_does_not_keep_mail_from_the_other() {
    let (bad, good) = (bad_hop(), sink().run());
    let gate =
        impatient(gate()).limit(1000, "1h").next_hop_at(bad.address(), "").next_hop(&good).run();
    for (number, (step, act)) in [
        (Step::Banner, Act::Stall),
        (Step::Ehlo, Act::say("what?")),
        (Step::Mail, Act::Close(HangUp::Rst, vec![])),
        (Step::Rcpt(1), Act::say("421 4.3.2 going down")),
        (Step::Data, Act::Stall),
    ]
    .into_iter()
    .enumerate()
    {
        bad.start_over(script().at(step, act));
        let account = format!("a{number}@shop.example");
        let heard = send(&gate, &account, "", 10, &format!("{step:?}"));
        assert_eq!(heard.summary(), "text `250 2.0.0`", "{step:?}");
        assert_eq!((good.count(), bad.messages().len()), (number + 1, 0), "{step:?}");
        assert_eq!(used(&gate, &account), 2, "{step:?}");
    }
}

fn case(at: &'static str, does: &'static str, script: Script) -> Case {
    Case { door: Door::Plain, at, does, script, mail: "", text_bytes: 10, before: Before::Nothing }
}

fn cases() -> Vec<Case> {
    let mut all = vec![];
    all.extend(connecting());
    all.extend(greeting());
    all.extend(envelopes());
    all.extend(texts());
    all.extend(verdicts());
    all.extend(idling());
    all.extend(reused());
    all.extend(extensions());
    all.extend(protection());
    all.extend(logins());
    all
}

/// Misbehaviour that is possible wherever an answer is due.
fn anywhere(at: &'static str, step: Step) -> Vec<Case> {
    let say = |octets: &[u8]| Act::Say(octets.to_vec());
    let acts = [
        ("closes (FIN)", Act::Close(HangUp::Fin, vec![])),
        ("closes (RST)", Act::Close(HangUp::Rst, vec![])),
        ("half an answer, then closes", Act::Close(HangUp::Fin, b"250 2.0".to_vec())),
        ("`250-` and no end, then closes", Act::Close(HangUp::Fin, b"250-2.0.0 ok\r\n".to_vec())),
        ("says nothing", Act::Stall),
        ("garbage", Act::say("\x00\u{7}what?")),
        ("a blank line before the answer", say(b"\r\n250 2.0.0 ok\r\n")),
        ("codes that differ in one answer", say(b"250-2.0.0 ok\r\n251 2.0.0 ok\r\n")),
        ("a code of two digits", Act::say("25 ok")),
        ("1xx", Act::say("150 wait")),
        ("000", Act::say("000 nothing")),
        ("9xx", Act::say("950 ok")),
        ("an endless line", Act::Flood(vec![b'2'; 4096])),
        ("endless lines", Act::Flood(b"250-more\r\n".repeat(100))),
        ("a line of 100 KB", Act::Say([b"250 ", "x".repeat(100_000).as_bytes(), b"\r\n"].concat())),
        (
            "100 KB of lines",
            Act::Say([&b"250-more and more\r\n".repeat(5_300)[..], b"250 ok\r\n"].concat()),
        ),
        ("421", Act::say("421 4.3.2 going down")),
        ("421, then closes", Act::Close(HangUp::Fin, b"421 4.3.2 going down\r\n".to_vec())),
    ];
    acts.map(|(does, act)| case(at, does, script().at(step, act))).into()
}

fn connecting() -> Vec<Case> {
    let close = |how| script().at(Step::Connect, Act::Close(how, vec![]));
    vec![
        case("connection", "nobody listens", script().gone()),
        case("connection", "closes at once (FIN)", close(HangUp::Fin)),
        case("connection", "closes at once (RST)", close(HangUp::Rst)),
        case(
            "connection",
            "says something twice",
            script().at(Step::Banner, Act::add("220 again")),
        ),
    ]
}

fn greeting() -> Vec<Case> {
    let mut all = anywhere("banner", Step::Banner);
    all.push(case("banner", "554", script().at(Step::Banner, Act::say("554 5.3.2 not today"))));
    all.push(case("banner", "250", script().at(Step::Banner, Act::say("250 hello"))));
    all.extend(anywhere("EHLO", Step::Ehlo));
    all.push(case("EHLO", "500", script().at(Step::Ehlo, Act::say("500 5.5.1 unknown"))));
    all.push(case("EHLO", "450", script().at(Step::Ehlo, Act::say("450 4.7.1 later"))));
    all.push(case("EHLO", "a second answer", script().at(Step::Ehlo, Act::add("250 again"))));
    all
}

fn envelopes() -> Vec<Case> {
    let mut all = anywhere("MAIL", Step::Mail);
    let answers = |at, step, answers: &[(&'static str, &str)]| -> Vec<Case> {
        answers
            .iter()
            .map(|(does, line)| case(at, does, script().at(step, Act::say(line))))
            .collect()
    };
    all.extend(answers(
        "MAIL",
        Step::Mail,
        &[
            ("4xx", "451 4.7.1 later"),
            ("5xx", "550 5.7.1 no"),
            ("3xx", "354 go"),
            ("`252`", "252 2.0.0 perhaps"),
        ],
    ));
    all.extend(anywhere("first RCPT", Step::Rcpt(1)));
    all.extend(answers(
        "first RCPT",
        Step::Rcpt(1),
        &[
            ("4xx", "451 4.7.1 later"),
            ("5xx", "550 5.1.1 nobody"),
            (
                "5xx of several lines, with another status in the second",
                "550-5.1.1 nobody\r\n550 5.7.1 really",
            ),
            ("5xx with the status of a 2xx", "550 2.1.5 fine"),
            (
                "5xx with control characters, octets beyond ASCII and a bare CR",
                "550 5.1.1 a\x1b[2J\rb\u{e9}\u{2028}",
            ),
            (
                "5xx with lines of 2,000 octets",
                &format!("550-5.1.1 {0}\r\n550 5.1.1 {0}", "x".repeat(2000)),
            ),
            ("`251`", "251 2.1.5 will forward"),
            ("`220`", "220 2.1.5 odd"),
            ("3xx", "354 go"),
        ],
    ));
    all.extend(anywhere("second RCPT", Step::Rcpt(2)));
    all.extend(answers(
        "second RCPT",
        Step::Rcpt(2),
        &[("4xx", "452 4.5.3 too many"), ("5xx", "550 5.1.1 nobody")],
    ));
    all.push(case(
        "RCPT",
        "5xx to both",
        script()
            .at(Step::Rcpt(1), Act::say("550 5.1.1 nobody"))
            .at(Step::Rcpt(2), Act::say("553 5.1.3 wrong")),
    ));
    all.push(case("RCPT", "one answer fewer", script().at(Step::Rcpt(1), Act::Say(vec![]))));
    all.push(case(
        "RCPT",
        "one answer more, at once",
        script().at(Step::Rcpt(2), Act::add("250 2.1.5 more")),
    ));
    all.push(case(
        "RCPT",
        "one answer more, later",
        script().at(Step::Rcpt(2), Act::AddLater(LATER, b"250 2.1.5 more\r\n".to_vec())),
    ));
    all.push(case(
        "MAIL",
        "one answer more, at once",
        script()
            .at(Step::Mail, Act::add("250 2.1.0 more"))
            .at(Step::Rcpt(2), Act::say("550 5.1.1 nobody")),
    ));
    all.push(case(
        "MAIL",
        "5xx, then 2xx to RCPT",
        script()
            .at(Step::Mail, Act::say("550 5.7.1 no"))
            .at(Step::Rcpt(1), Act::say("250 2.1.5 ok"))
            .at(Step::Rcpt(2), Act::say("250 2.1.5 ok")),
    ));
    all
}

fn texts() -> Vec<Case> {
    let mut all = anywhere("DATA", Step::Data);
    for (does, act) in [
        ("4xx", Act::say("451 4.7.1 later")),
        ("5xx", Act::say("554 5.7.1 no")),
        ("`250`", Act::say("250 2.0.0 taken")),
        ("`334`", Act::say("334 go")),
        ("354 twice", Act::add("354 go on")),
        ("354 and a 250 with it", Act::add("250 2.0.0 taken")),
    ] {
        all.push(case("DATA", does, script().at(Step::Data, act)));
    }
    for (does, act) in [
        ("closes (FIN)", Act::Close(HangUp::Fin, vec![])),
        ("closes (RST)", Act::Close(HangUp::Rst, vec![])),
        ("552, then closes", Act::Close(HangUp::Fin, b"552 5.3.4 too large\r\n".to_vec())),
        ("421, then closes", Act::Close(HangUp::Fin, b"421 4.3.2 going down\r\n".to_vec())),
        ("250 before the final dot", Act::say("250 2.0.0 taken")),
        ("does not read it", Act::Stall),
    ] {
        let mut case = case("text of 16 MB", does, script().at(Step::Text, act));
        case.text_bytes = 16_000_000;
        all.push(case);
    }
    all
}

fn verdicts() -> Vec<Case> {
    let mut all = anywhere("final dot", Step::Dot);
    for (does, act) in [
        ("4xx", Act::say("452 4.2.2 full")),
        ("5xx of several lines", Act::say("554-5.7.1 spam\r\n554 5.7.1 go away")),
        ("5xx without a status", Act::say("550 no")),
        ("2xx without a status", Act::say("250 ok")),
        ("2xx with the status of a 5xx", Act::say("250 5.7.1 no")),
        ("`250` without a text", Act::say("250")),
        ("`250` ended by a bare LF", Act::Say(b"250 2.0.0 ok\n".to_vec())),
        ("`252`", Act::say("252 2.0.0 perhaps")),
        ("3xx", Act::say("354 go on")),
        ("`250`, then closes", Act::Close(HangUp::Fin, b"250 2.0.0 ok\r\n".to_vec())),
        ("`250` and a 550 with it", Act::add("550 5.7.1 no")),
        ("`250` and a blank line with it", Act::add("")),
        ("`250`, and another later", Act::AddLater(LATER, b"250 2.0.0 ok\r\n".to_vec())),
        ("`250 ok` without a line end", Act::Close(HangUp::Fin, b"250 2.0.0 ok".to_vec())),
        ("`250` in time, but slowly", Act::Dawdle(Duration::from_millis(400))),
    ] {
        all.push(case("final dot", does, script().at(Step::Dot, act)));
    }
    all
}

fn idling() -> Vec<Case> {
    [
        ("closes (FIN)", Act::Close(HangUp::Fin, vec![])),
        ("closes (RST)", Act::Close(HangUp::Rst, vec![])),
        ("421, then closes", Act::Close(HangUp::Fin, b"421 4.4.2 idle\r\n".to_vec())),
        ("421, and stays", Act::say("421 4.4.2 idle")),
        ("says something unasked", Act::say("250 2.0.0 ok")),
    ]
    .map(|(does, act)| case("idle connection", does, script().at(Step::Idle, act)))
    .into()
}

/// On a connection that carried something before.
fn reused() -> Vec<Case> {
    let resets = [
        ("4xx", Act::say("450 4.7.1 later")),
        ("5xx", Act::say("500 5.5.1 unknown")),
        ("a second answer", Act::add("250 2.0.0 again")),
        ("no answer, but one to MAIL", Act::Say(vec![])),
    ];
    let mut all = anywhere("RSET after an envelope that was given up", Step::Rset);
    all.extend(resets.map(|(does, act)| {
        case("RSET after an envelope that was given up", does, script().at(Step::Rset, act))
    }));
    all.iter_mut().for_each(|case| case.before = Before::Envelope);
    for (at, step) in [
        ("MAIL of a second message", Step::Mail),
        ("RCPT of a second message", Step::Rcpt(2)),
        ("DATA of a second message", Step::Data),
        ("final dot of a second message", Step::Dot),
    ] {
        for (does, act) in [
            ("closes (FIN)", Act::Close(HangUp::Fin, vec![])),
            ("closes (RST)", Act::Close(HangUp::Rst, vec![])),
            ("says nothing", Act::Stall),
            ("garbage", Act::say("what?")),
            ("421, then closes", Act::Close(HangUp::Fin, b"421 4.3.2 going down\r\n".to_vec())),
        ] {
            let script = script().at(step, act).after(1);
            all.push(Case { before: Before::Message, ..case(at, does, script) });
        }
    }
    all
}

fn extensions() -> Vec<Case> {
    let lacks =
        |name, does, mail| Case { mail, ..case("extensions", does, script().without(name)) };
    let mut small = case(
        "extensions",
        "SIZE smaller than the text",
        script().offering(&["PIPELINING", "SIZE 3000"]),
    );
    small.text_bytes = 5000;
    vec![
        lacks("PIPELINING", "no PIPELINING", ""),
        lacks("DSN", "no DSN, which the message asks for", " RET=HDRS ENVID=1"),
        lacks("8BITMIME", "no 8BITMIME, which the message needs", " BODY=8BITMIME"),
        lacks("SMTPUTF8", "no SMTPUTF8, which the message needs", " SMTPUTF8"),
        small,
        case("extensions", "none at all", script().offering(&[])),
    ]
}

fn protection() -> Vec<Case> {
    let offered = || script().starttls(Certificate::Right);
    let at = |door, at, does, script| Case { door, ..case(at, does, script) };
    let mut all = vec![];
    for (does, act) in [
        ("454", Act::say("454 4.7.0 not now")),
        ("502", Act::say("502 5.5.1 unknown")),
        ("`250`, and no TLS", Act::say("250 2.0.0 ok")),
        ("220 and an injected answer with it", Act::add("250 2.0.0 injected")),
        ("closes (FIN)", Act::Close(HangUp::Fin, vec![])),
        ("says nothing", Act::Stall),
        ("garbage", Act::say("what?")),
        ("421", Act::say("421 4.3.2 going down")),
    ] {
        for door in [Door::Required, Door::Opportunistic] {
            all.push(at(door, "STARTTLS", does, offered().at(Step::StartTls, act.clone())));
        }
    }
    for (does, act) in [
        ("garbage instead of a ServerHello", Act::Say(b"SSH-2.0-OpenSSH\r\n".repeat(20))),
        ("a TLS alert", Act::Say(b"\x15\x03\x03\x00\x02\x02\x28".to_vec())),
        ("closes within it", Act::Close(HangUp::Fin, b"\x16\x03\x03\x00\x7a\x02\x00".to_vec())),
        ("resets", Act::Close(HangUp::Rst, vec![])),
        ("says nothing", Act::Stall),
    ] {
        for door in [Door::Required, Door::Opportunistic] {
            all.push(at(door, "handshake", does, offered().at(Step::Handshake, act.clone())));
        }
        let implicit = script().implicit_tls(Certificate::Right).at(Step::Handshake, act);
        all.push(at(Door::Implicit, "handshake", does, implicit));
    }
    for (does, certificate) in [
        ("an expired certificate", Certificate::Expired),
        ("a certificate for another name", Certificate::WrongName),
        ("a certificate of an unknown authority", Certificate::Stranger),
    ] {
        all.push(at(Door::Required, "handshake", does, script().starttls(certificate)));
        all.push(at(Door::Implicit, "handshake", does, script().implicit_tls(certificate)));
        all.push(at(Door::Opportunistic, "handshake", does, script().starttls(certificate)));
    }
    let again = "250-hop.example\r\n250-PIPELINING\r\n250 STARTTLS";
    for (does, act) in [
        ("offers STARTTLS again", Act::say(again)),
        ("500", Act::say("500 5.5.1 unknown")),
        ("closes (FIN)", Act::Close(HangUp::Fin, vec![])),
        ("says nothing", Act::Stall),
        ("garbage", Act::say("what?")),
    ] {
        all.push(at(Door::Required, "EHLO under TLS", does, offered().at(Step::EhloAgain, act)));
    }
    all.push(at(Door::Required, "EHLO", "does not offer STARTTLS", script()));
    all.push(at(Door::Opportunistic, "EHLO", "does not offer STARTTLS", script()));
    let clear = script().at(Step::Connect, Act::say("220 hop.example in the clear"));
    all.push(at(Door::Implicit, "handshake", "a banner in the clear", clear));
    for (step, name) in [(Step::Dot, "final dot"), (Step::Mail, "MAIL")] {
        for (does, act) in [
            ("closes (FIN)", Act::Close(HangUp::Fin, vec![])),
            ("closes (RST)", Act::Close(HangUp::Rst, vec![])),
            ("half an answer, then closes", Act::Close(HangUp::Fin, b"250 2.0".to_vec())),
        ] {
            all.push(at(Door::Required, name, does, offered().at(step, act)));
        }
    }
    all
}

fn logins() -> Vec<Case> {
    let asked = || script().offering(&["PIPELINING", "AUTH PLAIN"]);
    let at = |at, does, script| Case { door: Door::Login, ..case(at, does, script) };
    let mut all = vec![at("EHLO", "does not offer AUTH", script())];
    for (does, act) in [
        ("535", Act::say("535 5.7.8 wrong")),
        ("454", Act::say("454 4.7.0 later")),
        ("334", Act::say("334 more")),
        ("`250`", Act::say("250 2.0.0 ok")),
        ("closes (FIN)", Act::Close(HangUp::Fin, vec![])),
        ("says nothing", Act::Stall),
        ("garbage", Act::say("what?")),
        ("a second answer", Act::add("235 2.7.0 again")),
    ] {
        all.push(at("AUTH", does, asked().at(Step::Auth, act)));
    }
    all
}

/// When a late answer comes.
const LATER: Duration = Duration::from_millis(30);
