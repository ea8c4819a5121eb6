//! Mail of the past over SMTP, on the time of that mail: the gate must decide as `tollgate simulate` says it would.
//!
//! The gate is the real one, with its sessions, windows, memory and standings; what a trace says of its next hop, a simulated one
//! answers. `SIM_TRACE=DIR SIM_DAY=N cargo test --test sim replayed` takes day N of a trace in the format that docs/cli.md
//! describes, from 0; without it a small trace is made up here.

use super::chance::Chance;
use flate2::{Compression, read::MultiGzDecoder, write::GzEncoder};
use parking_lot::Mutex;
use serde_json::{Value, json};
use std::{
    collections::{BTreeMap, HashMap, HashSet},
    fs::File,
    io::{self, BufRead as _, BufReader, Read as _, Write as _},
    net::SocketAddr,
    path::{Path, PathBuf},
    process::Command,
    sync::Arc,
    time::Duration,
};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    sync::watch,
};
use tollgate::{
    app::{Ground, build_door, build_gate},
    clock::{Clock, Machine, steady_now},
    config::{self, Moves},
    event::{Event, Events, Listener, Suspect},
    intake::{Door, Gate, Phase, connection},
    message::SubjectKey,
    net::{
        Pipe, Stream,
        connect::{Dialing, Network, Simulated},
    },
    rules::tally::RecipientKey,
    store::{
        behaviour::Minds,
        mailboxes::Mailboxes,
        memory::MemoryStore,
        records::{Change, What},
    },
    types::{AccountId, Actor, SubjectId, Timestamp},
};

const DAY: f64 = 86_400.0;
/// A Monday.
const START: f64 = 1_772_409_600.0;
/// Where the provider's own servers stand; they are not charged as clients.
const OWN_SERVER: &str = "192.0.2.10:4000";
/// Where everybody else comes through.
const FRONT: &str = "192.0.2.20:4000";

/// What was decided about one message.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Decision {
    action: String,
    /// Whether the limits let each recipient pass.
    passed: Vec<bool>,
    suspended: bool,
    flagged: bool,
}

/// Plays a trace both ways and returns where they differ, and how many messages and suspensions there were.
pub(crate) fn play(folder: &Path) -> (Vec<String>, usize, usize) {
    let events = lines(&folder.join("events.jsonl.gz"));
    let simulated = simulated(folder);
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
    let sent = runtime.unwrap().block_on(async {
        let mut stage = Stage::set(folder, &events).await;
        let mut sent = Vec::new();
        for event in &events {
            sent.push(stage.send(event).await);
        }
        sent
    });
    let suspensions = simulated.iter().filter(|decision| decision.suspended).count();
    let differ = events.iter().zip(simulated).zip(sent).filter(|((_, one), other)| one != other);
    let told = differ.map(|((event, one), other)| {
        format!("{} {}: simulated {one:?}, sent {other:?}", event["seq"], event["t"])
    });
    (told.collect(), events.len(), suspensions)
}

// ── the trace ──

/// A day of a trace that somebody has, with lists that a gate has no source of left out.
pub(crate) fn day_of(trace: &Path, day: f64, into: &Path) {
    let (from, until) = (START + day * DAY, START + (day + 1.0) * DAY);
    let mut out = gz(&into.join("events.jsonl.gz"));
    for event in lines(&trace.join("events.jsonl.gz")) {
        let at = event["t"].as_f64().unwrap();
        if (from..until).contains(&at) {
            writeln!(out, "{event}").unwrap();
        }
    }
    out.finish().unwrap();
    std::fs::copy(trace.join("chunks.jsonl.gz"), into.join("chunks.jsonl.gz")).unwrap();
    let mut lists = String::new();
    MultiGzDecoder::new(File::open(trace.join("lists.json.gz")).unwrap())
        .read_to_string(&mut lists)
        .unwrap();
    let lists: Value = serde_json::from_str(&lists).unwrap();
    write_lists(into, &json!({ "ipinfo": lists["ipinfo"], "traps_known": lists["traps_known"] }));
}

/// Three days of a few customers, and a fourth on which two of them are robbed and a third has no luck with addresses.
pub(crate) fn make_up(into: &Path) {
    let mut chance = Chance::new(7);
    let mut events: Vec<(f64, Value)> = Vec::new();
    for (number, name) in ["anna", "budi", "citra", "dewi"].iter().enumerate() {
        let account = format!("{name}@toko{}.example", number % 2);
        for hour in 0..96 {
            let at = START + f64::from(hour) * 3_600.0 + 17.0 * (number as f64 + 1.0);
            let to = (0..1 + hour % 3).map(|n| format!("known{}@corp.example", (hour + n) % 9));
            let text = format!("Order {hour} is on its way, thank you for it. Greetings, {name}.");
            events.push((at, mail(&account, "81.2.3.4", to, (250, "2.0.0 Ok"), &text)));
        }
    }
    for number in 0..140_u64 {
        let account = if number % 2 == 0 { "anna@toko0.example" } else { "budi@toko1.example" };
        let at = START + 3.0 * DAY + 7_200.0 + number as f64 * 150.0;
        let to = (0..1 + number % 4).map(|n| {
            let stranger = chance.spread(1, 900_000) + n;
            format!(
                "{}{stranger}@free.example",
                if stranger.is_multiple_of(7) { "gone" } else { "new" }
            )
        });
        let to: Vec<String> = to.collect();
        let answer = if number % 5 == 4 { (550, "5.7.1 rejected as spam") } else { (250, "ok") };
        let text = "You have won! Claim your prize now, click here: http://prize.example/win act \
                    now, limited offer, 100% free, no obligation, dear friend.";
        events.push((at, mail(account, "203.7.8.9", to, answer, text)));
    }
    for number in 0..60 {
        // A newsletter beyond its limit.
        let at = START + 2.0 * DAY + 40_000.0 + f64::from(number);
        let to = [format!("reader{number}@list.example")];
        let text = format!("The weekly letter of our club, number {number}: we meet on Sunday.");
        events.push((at, mail("citra@toko0.example", "81.2.3.4", to, (250, "ok"), &text)));
    }
    events.sort_by(|one, other| one.0.total_cmp(&other.0));
    let mut out = gz(&into.join("events.jsonl.gz"));
    for (seq, (at, mut event)) in events.into_iter().enumerate() {
        (event["seq"], event["t"]) = (json!(seq), json!(at));
        writeln!(out, "{event}").unwrap();
    }
    out.finish().unwrap();
    gz(&into.join("chunks.jsonl.gz")).finish().unwrap();
    let network = |asn: u32, cc: &str, kind: &str| json!({ "asn": asn, "cc": cc, "kind": kind });
    let ipinfo = json!({
        "81.2.0.0/16": network(17_451, "ID", "isp"),
        "203.7.0.0/16": network(64_510, "RU", "hosting"),
    });
    write_lists(into, &json!({ "ipinfo": ipinfo, "traps_known": ["new77@free.example"] }));
}

fn mail(
    account: &str,
    ip: &str,
    to: impl IntoIterator<Item = String>,
    answer: (u16, &str),
    text: &str,
) -> Value {
    let recipients = to.into_iter().map(|to| {
        let answer = if to.starts_with("gone") { (550, "5.1.1 User unknown") } else { (250, "ok") };
        json!([to, answer.0, answer.1])
    });
    let (_, tenant) = account.split_once('@').unwrap();
    json!({
        "ip": ip, "helo": "pc", "auth": account, "relay": null, "tenant": tenant,
        "mail_from": account, "rcpts": recipients.collect::<Vec<_>>(),
        "data_reply": [answer.0, answer.1],
        "h": format!("From: <{account}>\r\nSubject: hello\r\n"),
        "body": [{ "l": format!("{text}\r\n") }],
    })
}

fn write_lists(into: &Path, lists: &Value) {
    let mut out = gz(&into.join("lists.json.gz"));
    write!(out, "{lists}").unwrap();
    out.finish().unwrap();
    // The same as a gate reads it.
    let (mut networks, mut hosting) = (String::new(), HashSet::new());
    for (network, known) in lists["ipinfo"].as_object().unwrap() {
        let two: Vec<&str> = network.split('.').take(2).collect();
        let (asn, cc) = (known["asn"].as_u64().unwrap(), known["cc"].as_str().unwrap());
        let range = two.join(".");
        networks.push_str(&format!("{range}.0.0\t{range}.255.255\t{asn}\t{cc}\tx\n"));
        if known["kind"] == "hosting" {
            hosting.insert(asn);
        }
    }
    let traps = lists["traps_known"].as_array().unwrap().iter();
    let traps: Vec<&str> = traps.map(|trap| trap.as_str().unwrap()).collect();
    std::fs::write(into.join("networks.tsv"), networks).unwrap();
    std::fs::write(into.join("traps"), traps.join("\n")).unwrap();
    let hosting: Vec<String> = hosting.iter().map(ToString::to_string).collect();
    let (shown, hosting) = (into.display(), hosting.join(", "));
    let config = format!(
        r#"
[server]
hostname = "gate.example"
contact = "abuse@gate.example"
state_dir = "{shown}"
[http]
listen = "none"
[api]
listen = "none"
[limits]
default_plan = "standard"
new_accounts_per_hour = 1000000
[plan.standard]
limits = [
  {{ scope = "account", max = 50, window = "1h" }},
  {{ scope = "account", max = 600, window = "24h" }},
  {{ scope = "client-ip", max = 50, window = "1h" }},
  {{ scope = "client-ip", max = 600, window = "24h" }},
]
null_sender = {{ max = 50, window = "1h" }}
[spam]
traps = "{shown}/traps"
networks = "{shown}/networks.tsv"
hosting_networks = [{hosting}]
[[listener]]
name = "smarthost"
kind = "smarthost"
address = "127.0.0.1:2525"
evidence = ["xclient-login"]
line_endings = "normalise"
[[trust]]
name = "own"
networks = ["192.0.2.10"]
relay = true
xclient = true
[[trust]]
name = "front"
networks = ["192.0.2.20"]
relay = true
xclient = true
[next_hop]
kind = "smarthost"
[[next_hop.hosts]]
host = "hop.example:25"
tls = "none"
"#
    );
    std::fs::write(into.join("gate.toml"), config).unwrap();
}

fn gz(path: &Path) -> GzEncoder<File> {
    GzEncoder::new(File::create(path).unwrap(), Compression::fast())
}

fn lines(path: &Path) -> Vec<Value> {
    let reader = BufReader::new(MultiGzDecoder::new(File::open(path).unwrap()));
    reader.lines().map(|line| serde_json::from_str(&line.unwrap()).unwrap()).collect()
}

// ── as it would be ──

fn simulated(folder: &Path) -> Vec<Decision> {
    let out = folder.join("decisions.jsonl.gz");
    let ran = Command::new(env!("CARGO_BIN_EXE_tollgate"))
        .args(["simulate", "--trace", folder.to_str().unwrap()])
        .args(["--config", folder.join("gate.toml").to_str().unwrap()])
        .args(["--out", out.to_str().unwrap()])
        .output()
        .unwrap();
    assert!(ran.status.success(), "{}", String::from_utf8_lossy(&ran.stderr));
    let is_there = |list: &Value| !list.as_array().unwrap().is_empty();
    let read = |line: &Value| {
        let action = line["action"].as_str().unwrap().to_owned();
        let passed = line["rcpts"].as_array().unwrap().iter();
        let passed = passed.map(|word| action == "accept" && *word == "accept").collect();
        Decision {
            action,
            passed,
            suspended: is_there(&line["suspend"]),
            flagged: is_there(&line["flag"]),
        }
    };
    lines(&out).iter().map(read).collect()
}

// ── as it is ──

/// The gate, its next hop, and what the events told.
struct Stage {
    gate: Arc<Gate>,
    door: Arc<Door>,
    phase: watch::Sender<Phase>,
    script: Arc<Mutex<Script>>,
    told: Arc<Mutex<Vec<(String, &'static str)>>>,
    chunks: HashMap<String, Vec<u8>>,
    began: tokio::time::Instant,
    first: f64,
    assigned: HashSet<AccountId>,
}

/// What the next hop answers to the present message.
#[derive(Default)]
struct Script {
    recipients: BTreeMap<String, String>,
    text: String,
}

struct Ear(Arc<Mutex<Vec<(String, &'static str)>>>);

impl Listener for Ear {
    fn notice(&self, _at: Timestamp, event: &Event) {
        let told = match event {
            Event::Suspended(suspended) => (suspended.subject.clone(), "suspended"),
            Event::StandingChanged(changed) => match &changed.who {
                Suspect::Subject(subject) => (subject.clone(), changed.to),
                Suspect::Client(_) => return,
            },
            _ => return,
        };
        if let SubjectId::Account(account) = told.0 {
            self.0.lock().push((account.to_string(), told.1));
        }
    }
}

struct Wires(Arc<Mutex<Script>>);

impl Simulated for Wires {
    fn dial(&self, _host: &str, _port: u16) -> Dialing {
        let script = self.0.clone();
        Box::pin(async move {
            let addresses = ["192.0.2.1:40000", "192.0.2.99:25"].map(|text| text.parse().unwrap());
            let (ours, theirs) = Pipe::pair(65_536, addresses);
            tokio::spawn(answer(theirs, script));
            Ok(ours)
        })
    }

    fn random(&self) -> u64 {
        4
    }
}

/// A next hop that answers as the script says.
async fn answer(pipe: Pipe, script: Arc<Mutex<Script>>) -> io::Result<()> {
    let mut talk = Talk::new(pipe);
    talk.say("220 hop.example ESMTP").await?;
    loop {
        let line = talk.line().await?;
        let verb = line.get(..4).unwrap_or_default().to_ascii_uppercase();
        let said = match verb.as_str() {
            "EHLO" => {
                "250-hop.example\r\n250-8BITMIME\r\n250-SMTPUTF8\r\n250-SIZE 0\r\n250 PIPELINING"
                    .into()
            }
            "RCPT" => {
                let to = line.split(['<', '>']).nth(1).unwrap_or_default();
                script.lock().recipients.get(to).cloned().unwrap_or_else(|| "550 5.5.0 who?".into())
            }
            "DATA" => {
                talk.say("354 go on").await?;
                while talk.line().await? != "." {}
                script.lock().text.clone()
            }
            "QUIT" => return talk.say("221 bye").await,
            _ => "250 2.0.0 ok".into(),
        };
        talk.say(&said).await?;
    }
}

/// One end of a connection, line by line.
struct Talk {
    pipe: Pipe,
    input: Vec<u8>,
}

impl Talk {
    const fn new(pipe: Pipe) -> Self {
        Self { pipe, input: Vec::new() }
    }

    async fn say(&mut self, line: &str) -> io::Result<()> {
        self.pipe.write_all(line.as_bytes()).await?;
        self.pipe.write_all(b"\r\n").await?;
        self.pipe.flush().await
    }

    async fn line(&mut self) -> io::Result<String> {
        loop {
            if let Some(end) = self.input.windows(2).position(|pair| pair == b"\r\n") {
                let line: Vec<u8> = self.input.drain(..end + 2).collect();
                return Ok(String::from_utf8_lossy(&line[..end]).into_owned());
            }
            let mut some = vec![0; 16_384];
            match self.pipe.read(&mut some).await? {
                0 => return Err(io::ErrorKind::UnexpectedEof.into()),
                read => self.input.extend_from_slice(&some[..read]),
            }
        }
    }

    /// The last line of the next reply.
    async fn reply(&mut self) -> String {
        loop {
            let line = self.line().await.unwrap();
            if line.as_bytes().get(3) != Some(&b'-') {
                return line;
            }
        }
    }

    async fn ask(&mut self, line: &str) -> String {
        self.say(line).await.unwrap();
        self.reply().await
    }
}

impl Stage {
    async fn set(folder: &Path, events: &[Value]) -> Self {
        let first = events[0]["t"].as_f64().unwrap();
        let path: PathBuf = folder.join("gate.toml");
        let config = config::load(&path, &Moves::default()).unwrap_or_else(|e| panic!("{e}"));
        let machine = Machine::boot(moment(first));
        let (script, told) = (Arc::<Mutex<Script>>::default(), Arc::default());
        let clock = Clock::start_on(&machine, moment(first));
        let events = Events::new(vec![Box::new(Ear(Arc::clone(&told)))]);
        let day = Duration::from_secs(86_400);
        let store = Arc::new(MemoryStore::new(day, Duration::from_secs(600)));
        let ground = Ground {
            ledger: store.clone(),
            records: store,
            behaviour: Arc::new(Minds::default()),
            mailboxes: Mailboxes::default(),
            network: Network::Simulated(Arc::new(Wires(script.clone()))),
            clock,
            subjects: SubjectKey::new(&[7; 32]),
            // The key of a replay.
            recipients: RecipientKey::new(b"replay"),
            events,
        };
        let gate = Arc::new(build_gate(&config, ground).unwrap());
        let door = Arc::new(build_door(&config, &config.listeners[0], &gate, None));
        let chunks = lines(&folder.join("chunks.jsonl.gz")).into_iter().map(|chunk| {
            let text = chunk[1].as_str().unwrap().chars();
            let octets = text.map(|c| u8::try_from(u32::from(c)).unwrap()).collect();
            (chunk[0].as_str().unwrap().to_owned(), octets)
        });
        Self {
            gate,
            door,
            phase: watch::channel(Phase::Serving).0,
            script,
            told,
            chunks: chunks.collect(),
            began: steady_now().into(),
            first,
            assigned: HashSet::new(),
        }
    }

    async fn send(&mut self, event: &Value) -> Decision {
        let passed = event["t"].as_f64().unwrap() - self.first;
        tokio::time::sleep_until(self.began + Duration::from_secs_f64(passed)).await;
        let identity = identity(event);
        self.assign(event, &identity).await;
        self.learn_script(event);
        self.told.lock().clear();
        let (action, passed) = self.transact(event, &identity).await;
        let told = std::mem::take(&mut *self.told.lock());
        let became = |words: &[&str]| {
            told.iter().any(|(who, word)| *who == identity.to_lowercase() && words.contains(word))
        };
        Decision {
            action,
            passed,
            suspended: became(&["suspended", "held"]),
            flagged: became(&["warned", "throttled"]),
        }
    }

    /// Gives an account the tenant that the trace says.
    async fn assign(&mut self, event: &Value, identity: &str) {
        let account: AccountId = identity.parse().unwrap();
        if !self.assigned.insert(account.clone()) {
            return;
        }
        let tenant = event["tenant"].as_str().unwrap_or(account.as_str()).parse().unwrap();
        let change = Change {
            subject: SubjectId::Account(account),
            what: What::Tenant(Some(tenant)),
            reason: "the trace says so".into(),
            evidence: None,
            actor: Actor::automatic("test"),
        };
        self.gate.records.change(change, self.gate.clock.utc()).await.unwrap();
    }

    fn learn_script(&self, event: &Value) {
        let mut script = self.script.lock();
        let answer = |answer: &Value, at: usize| {
            format!("{} {}", answer[at], answer[at + 1].as_str().unwrap())
        };
        script.text = answer(&event["data_reply"], 0);
        let recipients = event["rcpts"].as_array().unwrap().iter();
        script.recipients =
            recipients.map(|to| (to[0].as_str().unwrap().to_owned(), answer(to, 1))).collect();
    }

    async fn transact(&mut self, event: &Value, identity: &str) -> (String, Vec<bool>) {
        let is_own = event["relay"].as_str().is_some_and(|relay| !relay.starts_with("vps"));
        let remote: SocketAddr = if is_own { OWN_SERVER } else { FRONT }.parse().unwrap();
        let (client, server) = Pipe::pair(65_536, [remote, "127.0.0.1:2525".parse().unwrap()]);
        let serving = tokio::spawn(connection::serve(
            self.gate.clone(),
            self.door.clone(),
            Stream::from(server),
            remote,
            self.phase.subscribe(),
        ));
        let mut talk = Talk::new(client);
        talk.reply().await;
        talk.ask("EHLO front.example").await;
        let login = xtext(identity);
        let xclient = if is_own {
            format!("XCLIENT LOGIN={login}")
        } else {
            let helo =
                event["helo"].as_str().map_or_else(String::new, |h| format!(" HELO={}", xtext(h)));
            format!("XCLIENT ADDR={}{helo} LOGIN={login}", event["ip"].as_str().unwrap())
        };
        let said = talk.ask(&xclient).await;
        assert!(said.starts_with("220"), "{xclient}: {said}");
        talk.ask("EHLO front.example").await;
        let sender = event["mail_from"].as_str().unwrap();
        let said = talk.ask(&format!("MAIL FROM:<{sender}>")).await;
        assert!(said.starts_with("250"), "MAIL: {said}");
        let (mut passed, mut accepted, mut is_shut) = (Vec::new(), 0, false);
        for to in event["rcpts"].as_array().unwrap() {
            let said = talk.ask(&format!("RCPT TO:<{}>", to[0].as_str().unwrap())).await;
            is_shut |= said.contains(" is suspended");
            passed.push(!said.starts_with("450 4.7.1 ") && !said.contains(" is suspended"));
            accepted += usize::from(said.starts_with("250"));
        }
        let action = if is_shut {
            "reject"
        } else if accepted > 0 {
            self.text(&mut talk, event).await
        } else if passed.iter().any(|passed| *passed) {
            "accept"
        } else {
            "defer"
        };
        talk.ask("QUIT").await;
        serving.await.unwrap();
        if action != "accept" {
            passed.fill(false);
        }
        (action.to_owned(), passed)
    }

    /// Sends the text; an answer of ours names the session in brackets.
    async fn text(&self, talk: &mut Talk, event: &Value) -> &'static str {
        let said = talk.ask("DATA").await;
        assert!(said.starts_with("354"), "DATA: {said}");
        let mut octets = event["h"].as_str().unwrap().as_bytes().to_vec();
        octets.extend_from_slice(b"\r\n");
        for piece in event["body"].as_array().unwrap() {
            match piece.as_str() {
                Some(name) => octets.extend_from_slice(&self.chunks[name]),
                None => octets.extend_from_slice(piece["l"].as_str().unwrap().as_bytes()),
            }
        }
        let wire = wire(&octets);
        talk.pipe.write_all(&wire).await.unwrap();
        let said = talk.ask(".").await;
        let is_ours = said.ends_with(']');
        match said.as_bytes()[0] {
            b'5' if is_ours => "reject",
            b'4' if is_ours => "defer",
            _ => "accept",
        }
    }
}

/// As it goes over the wire: ends of line put right, dots doubled, nothing that no session takes.
fn wire(octets: &[u8]) -> Vec<u8> {
    let mut wire = Vec::with_capacity(octets.len() + 64);
    for line in octets.split(|&octet| octet == b'\n') {
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        if line.starts_with(b".") {
            wire.push(b'.');
        }
        wire.extend(line.iter().filter(|octet| !matches!(octet, 0 | b'\r')));
        wire.extend_from_slice(b"\r\n");
    }
    if octets.ends_with(b"\n") {
        wire.truncate(wire.len() - 2);
    }
    wire
}

/// RFC 3461 §4.
fn xtext(text: &str) -> String {
    let mut coded = String::new();
    for octet in text.bytes() {
        match octet {
            b'+' | b'=' | 0..=32 | 127.. => coded.push_str(&format!("+{octet:02X}")),
            octet => coded.push(char::from(octet)),
        }
    }
    coded
}

/// The sender's name, as `simulate` makes it.
fn identity(event: &Value) -> String {
    let text = |key: &str| event[key].as_str().unwrap_or_default();
    let field = |name: &str| {
        text("h").split("\r\n").find_map(|line| {
            let (own, value) = line.split_once(':')?;
            own.eq_ignore_ascii_case(name).then(|| value.trim().to_owned())
        })
    };
    let is_vps = text("relay").starts_with("vps");
    if let Some(login) = event["auth"].as_str() {
        format!("auth:{login}")
    } else if let Some(uid) = field("X-PHP-Originating-Script") {
        format!("uid:{}/{}", text("relay"), uid.split(':').next().unwrap())
    } else if let Some(alias) = field("X-Forwarded-For") {
        format!("fwd:{}", alias.split_whitespace().next().unwrap())
    } else if is_vps {
        format!("relay:{}", text("relay"))
    } else if !text("mail_from").is_empty() {
        format!("from:{}", text("mail_from"))
    } else {
        let from = field("From").unwrap_or_default();
        let address = from
            .split(|c: char| c.is_whitespace() || matches!(c, '<' | '>' | ','))
            .find(|word| word.split_once('@').is_some_and(|(l, d)| !l.is_empty() && !d.is_empty()));
        address.map_or_else(|| format!("ip:{}", text("ip")), |address| format!("auth:{address}"))
    }
}

#[expect(clippy::cast_possible_truncation, reason = "as far as a time has milliseconds")]
fn moment(seconds: f64) -> Timestamp {
    Timestamp::from_millis((seconds * 1_000.0).round() as i64)
}
