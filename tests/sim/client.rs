//! Simulated customers: honest, greedy, slow and rude ones, and strangers.

use super::{
    book::{Millis, Party},
    chance::Chance,
    world::World,
};
use base64::{Engine, engine::general_purpose::STANDARD as BASE64};
use std::{io, net::SocketAddr, sync::Arc, time::Duration};
use tokio::io::{AsyncReadExt, AsyncWriteExt, ReadHalf, WriteHalf};
use tollgate::net::Pipe;

/// Somebody who sends mail.
#[derive(Debug, Clone)]
pub(crate) struct Customer {
    pub(crate) name: String,
    /// The listener.
    pub(crate) door: &'static str,
    /// Where the connection comes from.
    pub(crate) remote: SocketAddr,
    pub(crate) proof: Proof,
    /// Whom the simulation says that the mail is charged to; none for a stranger.
    pub(crate) party: Option<Party>,
    pub(crate) manner: Manner,
    /// The longest pause between two sessions, in milliseconds.
    pub(crate) pause: u64,
    /// Recipients of a message at most.
    pub(crate) recipients: u64,
}

/// How a customer is known.
#[derive(Debug, Clone)]
pub(crate) enum Proof {
    /// Nothing but its address and what it writes into MAIL.
    Address,
    /// AUTH PLAIN.
    Login,
    /// A front server says XCLIENT for it.
    Xclient(String),
    /// A web server writes X-AuthUser.
    Header,
    /// A load balancer's PROXY header names this source.
    Proxy(String),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Manner {
    /// Does everything right and waits for every answer.
    Honest,
    /// Pipelines.
    Hasty,
    /// Takes its time, also in the middle of a line.
    Slow,
    /// Hangs up, resets and starts anew wherever it likes.
    Rude,
    /// Honest, alone with its account and address, and back exactly when a refusal said that there would be room.
    Patient,
}

/// Why a session is over.
#[derive(Debug)]
pub(crate) enum Over {
    /// The gate closed the connection.
    Lost,
    /// The client wants it so.
    Left,
}

impl From<io::Error> for Over {
    fn from(_: io::Error) -> Self {
        Self::Lost
    }
}

/// A reply as the client reads it.
struct Heard {
    code: u16,
    text: String,
}

/// One session.
struct Session<'a> {
    world: &'a Arc<World>,
    customer: &'a Customer,
    chance: &'a mut Chance,
    from_gate: ReadHalf<Pipe>,
    to_gate: WriteHalf<Pipe>,
    input: Vec<u8>,
    /// Said 421, or we did something that a server may hang up for.
    excused: bool,
    /// Heard of a limit without room.
    limited: bool,
    /// What a refusal said, for one who comes back for it.
    promise: &'a mut Option<Promise>,
}

/// That a recipient would be taken at this moment.
#[derive(Debug, Clone, Copy)]
struct Promise {
    at: Millis,
    /// Nothing was changed meanwhile if this is still so.
    changes: u64,
}

/// Lives until the simulation's last hour.
pub(crate) async fn live(world: Arc<World>, customer: Customer, mut chance: Chance) {
    let mut promise = None;
    loop {
        let soon = chance.permille(300);
        let mut pause =
            if soon { chance.spread(1, 10_000) } else { chance.within(1, customer.pause) };
        if let Some(Promise { at, .. }) = promise {
            pause = u64::try_from(at - world.now()).unwrap_or(0);
        }
        tokio::time::sleep(Duration::from_millis(pause)).await;
        if world.is_over() {
            return;
        }
        visit(&world, &customer, &mut chance, &mut promise).await;
    }
}

async fn visit(
    world: &Arc<World>,
    customer: &Customer,
    chance: &mut Chance,
    promise: &mut Option<Promise>,
) {
    let Some(pipe) = world.connect(customer.door, customer.remote) else {
        *promise = None;
        return;
    };
    let epoch = world.epoch();
    let (from_gate, to_gate) = tokio::io::split(pipe);
    let input = Vec::new();
    let mut session = Session {
        world,
        customer,
        chance,
        from_gate,
        to_gate,
        input,
        excused: false,
        limited: false,
        promise,
    };
    let over = session.converse().await;
    if !matches!(over, Err(Over::Lost)) {
        return;
    }
    let excused = session.excused
        || session.was_sent_away().await
        || world.epoch() != epoch
        || world.is_draining();
    if !excused && customer.party.is_some() {
        world.blame(format!("{}: the connection was lost for no reason", customer.name));
    }
}

impl Session<'_> {
    async fn converse(&mut self) -> Result<(), Over> {
        if let Proof::Proxy(source) = &self.customer.proof {
            let header = format!("PROXY TCP4 {source} 192.0.2.30 4711 25\r\n");
            // By a balancer, not by the client behind it: whatever the client's manner.
            self.to_gate.write_all(header.as_bytes()).await?;
        }
        self.expect(&[220]).await?;
        self.greet().await?;
        self.prove().await?;
        for _ in 0..self.chance.spread(1, 6) {
            self.limited = false;
            self.transaction().await?;
            // Most of those who hear that a limit is reached come back another time.
            let is_patient = self.customer.manner == Manner::Patient;
            if self.limited && (is_patient || self.chance.permille(800)) {
                break;
            }
            if self.chance.permille(300) {
                let pause = self.chance.spread(1, 60_000);
                self.nap(pause).await;
            }
        }
        self.command("QUIT", &[221]).await?;
        Ok(())
    }

    /// True if the last that the gate said was 421.
    async fn was_sent_away(&mut self) -> bool {
        let mut rest = Vec::new();
        let _broken = self.from_gate.read_to_end(&mut rest).await;
        self.input.extend(rest);
        self.input.split(|&octet| octet == b'\n').any(|line| line.starts_with(b"421 "))
    }

    async fn greet(&mut self) -> Result<(), Over> {
        self.command("EHLO client.example", &[250]).await.map(drop)
    }

    async fn prove(&mut self) -> Result<(), Over> {
        let account = self.account();
        match &self.customer.proof {
            Proof::Login => {
                if self.chance.permille(30) {
                    let wrong = BASE64.encode(format!("\0{account}\0a guess"));
                    self.command(&format!("AUTH PLAIN {wrong}"), &[454, 535]).await?;
                }
                let plain = BASE64.encode(format!("\0{account}\0{PASSWORD}"));
                let heard = self.command(&format!("AUTH PLAIN {plain}"), &[235, 454]).await?;
                if heard.code != 235 { Err(Over::Left) } else { Ok(()) }
            }
            Proof::Xclient(address) => {
                let line = format!("XCLIENT ADDR={address} LOGIN={account}");
                self.command(&line, &[220]).await?;
                self.greet().await
            }
            Proof::Address | Proof::Header | Proof::Proxy(_) => Ok(()),
        }
    }

    fn account(&self) -> String {
        let party = self.customer.party.as_ref();
        party.map_or_else(|| "nobody@strange.example".to_owned(), |party| party.account.clone())
    }

    async fn transaction(&mut self) -> Result<(), Over> {
        let id = self.world.begin(self.customer.party.clone());
        let null = self.customer.party.as_ref().is_some_and(|party| party.null_sender);
        let sender = if null { String::new() } else { self.account() };
        let count = self.chance.spread(1, self.customer.recipients);
        let asked: Vec<String> = (0..count).map(|n| format!("r{n}.{id}@dest.example")).collect();
        if self.rude(40).await? {
            return Ok(());
        }
        let accepted = match self.customer.manner {
            Manner::Hasty => self.envelope_at_once(id, &sender, &asked).await?,
            _ => self.envelope(id, &sender, &asked).await?,
        };
        let Some(accepted) = accepted else { return Ok(()) };
        if accepted.is_empty() {
            return self.reset().await;
        }
        if self.rude(60).await? {
            return Ok(());
        }
        let data = if self.customer.manner == Manner::Hasty {
            self.expect(&[354, 452]).await?
        } else {
            self.command("DATA", &[354, 452]).await?
        };
        if data.code != 354 {
            return self.reset().await;
        }
        self.text(id, accepted).await
    }

    /// MAIL and RCPTs one after the other; the accepted ones, or none if MAIL was refused.
    async fn envelope(
        &mut self,
        id: usize,
        sender: &str,
        asked: &[String],
    ) -> Result<Option<Vec<String>>, Over> {
        let mail = self.command(&format!("MAIL FROM:<{sender}>"), MAIL_ANSWERS).await?;
        if !self.may_go_on(id, &mail) {
            return Ok(None);
        }
        let mut accepted = Vec::new();
        for recipient in asked {
            if self.rude(20).await? {
                return Ok(None);
            }
            let heard = self.command(&format!("RCPT TO:<{recipient}>"), RCPT_ANSWERS).await?;
            let is_limit = self.take_note(&heard);
            self.keep_promise(id, &heard.text, is_limit, accepted.is_empty());
            if heard.code == 250 {
                accepted.push(recipient.clone());
            } else if is_limit && self.customer.manner == Manner::Patient {
                break;
            }
        }
        Ok(Some(accepted))
    }

    /// The first recipient of one who came back when there should be room; and what a refusal promises to one who has
    /// nothing open, which would make the promise depend on what becomes of it.
    fn keep_promise(&mut self, id: usize, text: &str, is_limit: bool, nothing_open: bool) {
        if self.customer.manner != Manner::Patient {
            return;
        }
        let (now, changes) = (self.world.now(), self.world.changes());
        let broken = self.promise.take().is_some_and(|promise| promise.changes == changes);
        if broken && is_limit {
            self.world.blame(format!("message {id}: {text:?}, but there should be room"));
        }
        let seconds = text.split("(in ").nth(1).and_then(|rest| rest.split(' ').next());
        let seconds: Option<Millis> = seconds.and_then(|seconds| seconds.parse().ok());
        let at =
            seconds.filter(|_| is_limit && nothing_open).map(|s| now + s * 1000 + CLOCKS_APART);
        *self.promise = at.map(|at| Promise { at, changes });
    }

    /// MAIL, RCPTs and DATA in one go (RFC 2920), cut anywhere.
    async fn envelope_at_once(
        &mut self,
        id: usize,
        sender: &str,
        asked: &[String],
    ) -> Result<Option<Vec<String>>, Over> {
        let mut group = format!("MAIL FROM:<{sender}>\r\n");
        asked.iter().for_each(|recipient| group.push_str(&format!("RCPT TO:<{recipient}>\r\n")));
        group.push_str("DATA\r\n");
        self.send(group.as_bytes()).await?;
        let mail = self.expect(MAIL_ANSWERS).await?;
        let goes_on = self.may_go_on(id, &mail);
        let mut accepted = Vec::new();
        for recipient in asked {
            let heard = self.expect(if goes_on { RCPT_ANSWERS } else { &[503] }).await?;
            self.take_note(&heard);
            if heard.code == 250 {
                accepted.push(recipient.clone());
            }
        }
        if accepted.is_empty() {
            self.expect(&[503, 554]).await?;
            return Ok(goes_on.then_some(accepted));
        }
        Ok(Some(accepted))
    }

    fn may_go_on(&mut self, id: usize, mail: &Heard) -> bool {
        if mail.code == 250 && self.customer.party.is_none() {
            self.world.blame(format!("message {id}: a stranger's MAIL was accepted"));
        }
        mail.code == 250
    }

    /// True of a limit that has no room.
    fn take_note(&mut self, heard: &Heard) -> bool {
        let text = &heard.text;
        let is_limit = heard.code == 450 && text.contains(" 4.7.1 ") && text.contains("next slot");
        if is_limit {
            self.limited = true;
            self.world.limited();
        }
        is_limit
    }

    async fn text(&mut self, id: usize, accepted: Vec<String>) -> Result<(), Over> {
        let text = self.compose(id);
        self.world.send(id, accepted, text.clone());
        let mut wire = stuffed(&text);
        if self.customer.manner == Manner::Rude && self.chance.permille(100) {
            let cut = usize::try_from(self.chance.within(0, wire.len() as u64)).unwrap();
            wire.truncate(cut);
            self.send(&wire).await?;
            return Err(Over::Left);
        }
        self.send(&wire).await?;
        self.world.dot(id);
        self.send(b".\r\n").await?;
        if self.customer.manner == Manner::Rude && self.chance.permille(100) {
            let wait = self.chance.spread(1, 10_000);
            self.nap(wait).await;
            return Err(Over::Left);
        }
        let leaves = self.customer.manner == Manner::Rude && self.chance.permille(100);
        if leaves {
            // Half closed: it still hears its verdict.
            self.to_gate.shutdown().await?;
        }
        let heard = self.reply().await?;
        self.world.heard(id, heard.code);
        if heard.code == 450 {
            self.take_note(&heard);
        }
        if leaves || heard.code == 421 { Err(Over::Left) } else { Ok(()) }
    }

    fn compose(&mut self, id: usize) -> Vec<u8> {
        let mut text = format!("X-Sim: {id}\r\nSubject: {id}\r\n");
        if matches!(self.customer.proof, Proof::Header) {
            text.push_str(&format!("X-AuthUser: {}\r\n", self.account()));
        }
        text.push_str("\r\n");
        let mut text = text.into_bytes();
        let is_large = self.chance.permille(10);
        let lines =
            if is_large { self.chance.spread(500, 2_000) } else { self.chance.spread(1, 40) - 1 };
        for _ in 0..lines {
            let line: &[u8] = match self.chance.within(0, 6) {
                0 => b".",
                1 => b"",
                2 => b"..two dots",
                3 => b".hidden",
                4 => "gr\u{fc}\u{df}e".as_bytes(),
                5 => &[b'x'; 990],
                _ => b"just a line",
            };
            text.extend_from_slice(line);
            text.extend_from_slice(b"\r\n");
        }
        text
    }

    /// A rude client does now and then something else: hangs up, or starts anew.
    async fn rude(&mut self, permille: u64) -> Result<bool, Over> {
        if self.customer.manner != Manner::Rude || !self.chance.permille(permille) {
            return Ok(false);
        }
        match self.chance.within(0, 3) {
            0 => Err(Over::Left),
            1 => {
                self.greet().await?;
                Ok(true)
            }
            2 => {
                self.command("QUIT", &[221]).await?;
                Err(Over::Left)
            }
            _ => {
                self.reset().await?;
                Ok(true)
            }
        }
    }

    async fn reset(&mut self) -> Result<(), Over> {
        self.command("RSET", &[250]).await.map(drop)
    }

    async fn command(&mut self, line: &str, expected: &[u16]) -> Result<Heard, Over> {
        self.send(format!("{line}\r\n").as_bytes()).await?;
        self.expect(expected).await
    }

    async fn expect(&mut self, expected: &[u16]) -> Result<Heard, Over> {
        let heard = self.reply().await?;
        if heard.code == 421 {
            self.excused = true;
            return Err(Over::Left);
        }
        if !expected.contains(&heard.code) {
            let name = &self.customer.name;
            self.world.blame(format!("{name}: heard {:?} instead of {expected:?}", heard.text));
            return Err(Over::Left);
        }
        Ok(heard)
    }

    async fn reply(&mut self) -> Result<Heard, Over> {
        let Ok(line) = tokio::time::timeout(REPLY_TIME_MAX, self.last_line()).await else {
            self.world.blame(format!("{}: no answer in {REPLY_TIME_MAX:?}", self.customer.name));
            return Err(Over::Left);
        };
        let text = line?;
        self.world.note(|| format!("{} hears {text}", self.customer.name));
        let code = text.get(..3).and_then(|code| code.parse().ok()).unwrap_or(0);
        Ok(Heard { code, text })
    }

    /// The last line of the next reply.
    async fn last_line(&mut self) -> io::Result<String> {
        loop {
            while let Some(end) = self.input.windows(2).position(|pair| pair == b"\r\n") {
                let line: Vec<u8> = self.input.drain(..end + 2).collect();
                if line.get(3) != Some(&b'-') {
                    return Ok(String::from_utf8_lossy(&line[..end]).into_owned());
                }
            }
            let mut some = [0; 4096];
            match self.from_gate.read(&mut some).await? {
                0 => return Err(io::ErrorKind::UnexpectedEof.into()),
                read => self.input.extend_from_slice(&some[..read]),
            }
        }
    }

    /// Writes in pieces: of a line or two, or cut anywhere with pauses, as the client's manner is.
    async fn send(&mut self, octets: &[u8]) -> Result<(), Over> {
        self.world.note(|| {
            let shown = String::from_utf8_lossy(&octets[..octets.len().min(60)]).into_owned();
            format!("{} says {shown:?} ({})", self.customer.name, octets.len())
        });
        let mut left = octets;
        while !left.is_empty() {
            let (longest, pause) = match self.customer.manner {
                Manner::Honest | Manner::Patient => (left.len() as u64, 0),
                Manner::Hasty | Manner::Rude => (self.chance.spread(1, 20_000), 50),
                Manner::Slow => (self.chance.spread(1, 2_000), 20_000),
            };
            let piece = usize::try_from(longest).unwrap().min(left.len());
            let written = self.write_or_read(&left[..piece]).await?;
            left = &left[written..];
            if !left.is_empty() && pause > 0 {
                let pause = self.chance.spread(1, pause);
                self.nap(pause).await;
            }
        }
        Ok(())
    }

    /// Writes what there is room for, and reads meanwhile, so that the two ends never wait for each other (RFC 2920 §3.1).
    async fn write_or_read(&mut self, octets: &[u8]) -> io::Result<usize> {
        let mut some = [0; 4096];
        tokio::select! {
            biased;
            written = self.to_gate.write(octets) => written,
            read = self.from_gate.read(&mut some) => match read? {
                0 => Err(io::ErrorKind::UnexpectedEof.into()),
                read => {
                    self.input.extend_from_slice(&some[..read]);
                    Ok(0)
                }
            },
        }
    }

    async fn nap(&self, millis: u64) {
        tokio::time::sleep(Duration::from_millis(millis)).await;
    }
}

fn stuffed(text: &[u8]) -> Vec<u8> {
    let mut wire = Vec::with_capacity(text.len());
    for line in text.split_inclusive(|&octet| octet == b'\n') {
        if line.starts_with(b".") {
            wire.push(b'.');
        }
        wire.extend_from_slice(line);
    }
    wire
}

/// Every customer's.
pub(crate) const PASSWORD: &str = "correct horse";
/// RFC 5321 §4.5.3.2.6 lets a client give up after 10 minutes; no wait of the gate's is longer.
const REPLY_TIME_MAX: Duration = Duration::from_secs(600);
/// How far ledger time may be behind the time since boot, while it is slewed after a restart, and the rounding of what is printed.
const CLOCKS_APART: Millis = 2_000;
const MAIL_ANSWERS: &[u16] = &[250, 451, 550];
const RCPT_ANSWERS: &[u16] = &[250, 450, 451, 550];
