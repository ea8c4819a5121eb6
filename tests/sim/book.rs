//! The simulation's own book: what the next hops took, what the clients heard, and whether that keeps the promises.
//!
//! It is as simple as can be (lists, looked through from end to end), knows who a customer is because the simulation made the
//! customer, and shares no code with the gate's rules, windows or machines. Every entry is checked when it is made.

use std::{collections::BTreeMap, fmt::Write as _};

/// Milliseconds since the simulated machine was booted.
pub(crate) type Millis = i64;

/// Whom a customer's mail is charged to, by the simulation's own knowledge.
#[derive(Debug, Clone)]
pub(crate) struct Party {
    pub(crate) account: String,
    pub(crate) tenant: String,
    /// The client address (IPv6: its network), unless it belongs to one of the provider's own servers.
    pub(crate) client: Option<String>,
    /// The server that is charged as well, where the evidence is weak.
    pub(crate) peer: Option<String>,
    pub(crate) null_sender: bool,
}

impl Party {
    /// Each window that a message is charged to: its class, whose it is, and how much.
    fn windows(&self, recipients: u32) -> Vec<(&'static str, &str, u32)> {
        let mut windows = vec![("tenant", self.tenant.as_str(), recipients)];
        if self.null_sender {
            windows.push(("null-sender", &self.account, recipients));
        } else {
            windows.push(("account", &self.account, recipients));
            windows.push(("account-messages", &self.account, 1));
        }
        windows.extend(self.client.as_deref().map(|client| ("client", client, recipients)));
        windows.extend(self.peer.as_deref().map(|peer| ("peer", peer, recipients)));
        windows
    }
}

/// A limit of the configuration through time.
pub(crate) struct Rule {
    pub(crate) class: &'static str,
    pub(crate) window: Millis,
    /// From when on how much.
    max: Vec<(Millis, u32)>,
    /// What an operator set for somebody, from when on.
    special: BTreeMap<String, Vec<(Millis, Special)>>,
}

/// What an operator set in the place of a limit.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Special {
    /// Nothing (any more).
    None,
    Lifted,
    Max(u32),
}

impl Rule {
    pub(crate) fn new(class: &'static str, window: Millis, max: u32) -> Self {
        Self { class, window, max: vec![(Millis::MIN, max)], special: BTreeMap::new() }
    }

    pub(crate) fn change(&mut self, at: Millis, max: u32) {
        self.max.push((at, max));
    }

    pub(crate) fn set_special(&mut self, name: &str, at: Millis, special: Special) {
        self.special.entry(name.to_owned()).or_default().push((at, special));
    }

    /// The most that held at any moment from `since` to `until`: a transaction keeps the limits that it began with.
    fn loosest(&self, name: &str, since: Millis, until: Millis) -> u32 {
        let none = Vec::new();
        let special = self.special.get(name).unwrap_or(&none);
        let changes = self.max.iter().map(|&(at, _)| at).chain(special.iter().map(|&(at, _)| at));
        let moments = changes.filter(|at| (since..=until).contains(at)).chain([since]);
        moments.map(|moment| self.max_at(special, moment)).max().unwrap_or(u32::MAX)
    }

    fn max_at(&self, special: &[(Millis, Special)], moment: Millis) -> u32 {
        let in_force = special.iter().rfind(|&&(at, _)| at <= moment).map(|&(_, special)| special);
        match in_force.unwrap_or(Special::None) {
            Special::Max(max) => max,
            Special::Lifted => u32::MAX,
            Special::None => {
                self.max.iter().rfind(|&&(at, _)| at <= moment).map_or(u32::MAX, |l| l.1)
            }
        }
    }
}

/// One message of one customer, from MAIL to whatever end.
struct Submission {
    party: Option<Party>,
    began: Millis,
    /// The recipients that the client heard 250 for, once it knows.
    recipients: Vec<String>,
    text: Vec<u8>,
    dot_at: Option<Millis>,
    heard: Option<u16>,
    taken: Option<Taken>,
}

struct Taken {
    /// When the next hop's 250 was on its way to a gate that should have been waiting for it.
    answered: Option<Millis>,
}

/// What counts at the end of a run.
#[derive(Debug, Default, Clone, Copy)]
pub(crate) struct Tally {
    pub(crate) begun: u64,
    pub(crate) taken: u64,
    pub(crate) confirmed: u64,
    pub(crate) limited: u64,
    pub(crate) crashes: u64,
}

pub(crate) struct Book {
    submissions: Vec<Submission>,
    charges: BTreeMap<(&'static str, String), Vec<(Millis, u32)>>,
    pub(crate) rules: Vec<Rule>,
    /// Who was suspended, from when to when.
    suspended: Vec<(String, Millis, Millis)>,
    /// How long the gate waits for a next hop's last answer.
    pub(crate) patience: Millis,
    pub(crate) tally: Tally,
    pub(crate) violations: Vec<String>,
    /// The events of the run, where somebody wants to read them.
    trace: Option<String>,
}

impl Book {
    pub(crate) fn new(rules: Vec<Rule>, patience: Millis, traced: bool) -> Self {
        Self {
            submissions: Vec::new(),
            charges: BTreeMap::new(),
            rules,
            suspended: Vec::new(),
            patience,
            tally: Tally::default(),
            violations: Vec::new(),
            trace: traced.then(String::new),
        }
    }

    pub(crate) fn note(&mut self, at: Millis, text: impl FnOnce() -> String) {
        if let Some(trace) = &mut self.trace {
            let _infallible = writeln!(trace, "{:>12.3} {}", at as f64 / 1000.0, text());
        }
    }

    pub(crate) fn trace(&self) -> &str {
        self.trace.as_deref().unwrap_or_default()
    }

    /// A promise was broken.
    pub(crate) fn blame(&mut self, at: Millis, text: String) {
        self.note(at, || format!("VIOLATION {text}"));
        self.violations.push(text);
    }

    // ── what clients do and hear ──

    /// A client says MAIL; `party` is none for one who may not relay.
    pub(crate) fn begin(&mut self, party: Option<Party>, at: Millis) -> usize {
        self.tally.begun += 1;
        self.submissions.push(Submission {
            party,
            began: at,
            recipients: Vec::new(),
            text: Vec::new(),
            dot_at: None,
            heard: None,
            taken: None,
        });
        self.submissions.len() - 1
    }

    /// The client knows its recipients and is about to send this text.
    pub(crate) fn send(&mut self, id: usize, recipients: Vec<String>, text: Vec<u8>) {
        let submission = &mut self.submissions[id];
        (submission.recipients, submission.text) = (recipients, text);
    }

    /// The client is about to send the final dot.
    pub(crate) fn dot(&mut self, id: usize, at: Millis) {
        self.submissions[id].dot_at = Some(at);
    }

    /// The client hears the answer to its text.
    pub(crate) fn heard(&mut self, id: usize, code: u16, at: Millis) {
        let patience = self.patience;
        let submission = &mut self.submissions[id];
        submission.heard = Some(code);
        let dot_at = submission.dot_at.unwrap_or(at);
        let confirmed = code / 100 == 2;
        let wrong = match &submission.taken {
            None if confirmed => Some(format!("message {id}: a false 250")),
            Some(Taken { answered: Some(when), .. })
                if !confirmed && when - dot_at + 1000 < patience =>
            {
                Some(format!(
                    "message {id}: the next hop said 250 in time, the client heard {code}"
                ))
            }
            _ => None,
        };
        self.tally.confirmed += u64::from(confirmed);
        if let Some(wrong) = wrong {
            self.blame(at, wrong);
        }
    }

    // ── what next hops take ──

    /// A next hop takes a text for these recipients. Returns the message's number.
    pub(crate) fn take(&mut self, recipients: &[String], text: &[u8], at: Millis) -> Option<usize> {
        let id = number_of(text).filter(|&id| id < self.submissions.len());
        let Some(id) = id else {
            self.blame(at, format!("a text that nobody sent: {}", String::from_utf8_lossy(text)));
            return None;
        };
        self.tally.taken += 1;
        let count = u32::try_from(recipients.len()).unwrap();
        let submission = &mut self.submissions[id];
        let twice = submission.taken.is_some();
        submission.taken = Some(Taken { answered: None });
        let mut wrong = Vec::new();
        if twice {
            wrong.push(format!("message {id}: taken twice"));
        }
        if submission.dot_at.is_none() {
            wrong.push(format!("message {id}: taken before its end was sent"));
        }
        if submission.recipients != recipients {
            let heard = &submission.recipients;
            wrong.push(format!("message {id}: for {recipients:?}, but the client heard {heard:?}"));
        }
        if let Err(difference) = check_text(&submission.text, text) {
            wrong.push(format!("message {id}: {difference}"));
        }
        let party = submission.party.clone();
        let began = submission.began;
        match party {
            None => wrong.push(format!("message {id}: relayed for a stranger")),
            Some(party) => {
                wrong.extend(self.check_suspension(id, &party, began, at));
                wrong.extend(self.charge(id, &party, count, at));
            }
        }
        wrong.into_iter().for_each(|wrong| self.blame(at, wrong));
        Some(id)
    }

    /// The next hop's 250 for a message that it took is on its way.
    pub(crate) fn answered(&mut self, id: usize, at: Millis) {
        if let Some(taken) = &mut self.submissions[id].taken {
            taken.answered = Some(at);
        }
    }

    fn check_suspension(
        &self,
        id: usize,
        party: &Party,
        began: Millis,
        at: Millis,
    ) -> Option<String> {
        let concerns = |name: &str| name == party.account || name == party.tenant;
        let found = self
            .suspended
            .iter()
            .find(|(name, from, to)| concerns(name) && *from < began && at < *to)?;
        Some(format!("message {id}: taken although {} is suspended", found.0))
    }

    fn charge(&mut self, id: usize, party: &Party, recipients: u32, at: Millis) -> Vec<String> {
        let mut wrong = Vec::new();
        for (class, name, charges) in party.windows(recipients) {
            let log = self.charges.entry((class, name.to_owned())).or_default();
            log.push((at, charges));
            for rule in self.rules.iter().filter(|rule| rule.class == class) {
                let inside = log.iter().filter(|&&(when, _)| at - rule.window < when && when <= at);
                let used: u32 = inside.map(|&(_, charges)| charges).sum();
                let max = rule.loosest(name, at - TRANSACTION_TIME, at);
                if used > max {
                    let window = rule.window / 1000;
                    wrong.push(format!(
                        "message {id}: {class} {name} has {used} of {max} in {window} s"
                    ));
                }
            }
        }
        wrong
    }

    // ── what operators do ──

    pub(crate) fn suspend(&mut self, name: &str, at: Millis) {
        self.suspended.push((name.to_owned(), at, Millis::MAX));
    }

    pub(crate) fn resume(&mut self, name: &str, at: Millis) {
        let open =
            self.suspended.iter_mut().rfind(|(who, _, to)| who == name && *to == Millis::MAX);
        if let Some((_, _, to)) = open {
            *to = at;
        }
    }

    // ── at the end ──

    /// Recipients that next hops took after `since`, for this account or tenant.
    pub(crate) fn taken_since(&self, class: &'static str, name: &str, since: Millis) -> u32 {
        let log = self.charges.get(&(class, name.to_owned()));
        let inside = log.into_iter().flatten().filter(|&&(when, _)| when > since);
        inside.map(|&(_, charges)| charges).sum()
    }
}

/// Our own number of a message, which stands in its header.
fn number_of(text: &[u8]) -> Option<usize> {
    let text = String::from_utf8_lossy(text);
    let line = text.split("\r\n").find_map(|line| line.strip_prefix("X-Sim: "))?;
    line.parse().ok()
}

/// The text must be what was sent, below one Received field.
fn check_text(sent: &[u8], taken: &[u8]) -> Result<(), String> {
    let head = taken.strip_suffix(sent).ok_or_else(|| {
        let (sent, taken) = (String::from_utf8_lossy(sent), String::from_utf8_lossy(taken));
        format!("the text was changed: sent {sent:?}, taken {taken:?}")
    })?;
    let head = String::from_utf8_lossy(head);
    let mut lines = head.split_terminator("\r\n");
    let is_received = lines.next().is_some_and(|line| line.starts_with("Received: "));
    let folded = lines.all(|line| line.starts_with([' ', '\t']));
    if is_received && folded && head.ends_with("\r\n") {
        return Ok(());
    }
    Err(format!("what stands above the text is not one Received field: {head:?}"))
}

/// More than a transaction can last, with the wait for the next hop's answer and for one that dawdles.
const TRANSACTION_TIME: Millis = 60 * 60 * 1000;
