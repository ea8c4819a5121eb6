//! A simulated next hop: speaks SMTP by itself, takes mail into the [`Book`](super::book::Book), and is as bad as its temper says.

use super::{chance::Chance, world::World};
use std::{io, sync::Arc, time::Duration};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tollgate::net::Pipe;

/// How a next hop behaves: how many times of a thousand it does each of these.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Temper {
    /// Refuses a connection, or lets it hang.
    pub(crate) unreachable: u64,
    /// Greets with 421 or 554, with nonsense, or not at all.
    pub(crate) unwelcoming: u64,
    /// Answers a command with 4xx or 5xx.
    pub(crate) refusing: u64,
    /// Closes instead of an answer, or in the middle of the text.
    pub(crate) dying: u64,
    /// Never answers.
    pub(crate) stalling: u64,
    /// Takes the text, or not, and is gone without an answer to the dot.
    pub(crate) vanishing: u64,
    /// The longest that it thinks before an answer, in milliseconds.
    pub(crate) slow: u64,
    /// How long it lets a connection idle, in milliseconds.
    pub(crate) idle: u64,
    /// Leaves extensions out of its EHLO.
    pub(crate) poor: u64,
}

impl Temper {
    /// Takes everything at once.
    pub(crate) const GOOD: Self = Self {
        unreachable: 0,
        unwelcoming: 0,
        refusing: 0,
        dying: 0,
        stalling: 0,
        vanishing: 0,
        slow: 20,
        idle: 60_000,
        poor: 0,
    };
}

/// One connection of a gate to a next hop.
pub(crate) struct Visit {
    world: Arc<World>,
    name: String,
    temper: Temper,
    chance: Chance,
    pipe: Pipe,
    input: Vec<u8>,
    mail: bool,
    recipients: Vec<String>,
}

/// Why a connection ended.
enum End {
    /// The gate is gone, or we want it so.
    Gone,
    /// Says nothing more until the gate goes.
    Stalled,
}

impl From<io::Error> for End {
    fn from(_: io::Error) -> Self {
        Self::Gone
    }
}

impl Visit {
    pub(crate) fn new(
        world: Arc<World>,
        name: String,
        temper: Temper,
        chance: Chance,
        pipe: Pipe,
    ) -> Self {
        Self {
            world,
            name,
            temper,
            chance,
            pipe,
            input: Vec::new(),
            mail: false,
            recipients: Vec::new(),
        }
    }

    pub(crate) async fn run(mut self) {
        if matches!(self.converse().await, Err(End::Stalled)) {
            let mut rest = [0; 512];
            while self.pipe.read(&mut rest).await.is_ok_and(|read| read > 0) {}
        }
    }

    async fn converse(&mut self) -> Result<(), End> {
        if self.chance.permille(self.temper.unwelcoming) {
            return self.greet_badly().await;
        }
        self.answer("220 hop.example ESMTP").await?;
        loop {
            let line = self.command().await?;
            self.obey(&line).await?;
        }
    }

    async fn greet_badly(&mut self) -> Result<(), End> {
        let greeting = *self.chance.pick(&["421 4.3.2 busy", "554 5.3.2 no", "hello", ""]);
        if greeting.is_empty() {
            return Err(End::Stalled);
        }
        self.answer(greeting).await?;
        Err(End::Gone)
    }

    async fn command(&mut self) -> Result<String, End> {
        let idle = Duration::from_millis(self.temper.idle);
        let line = tokio::time::timeout(idle, self.line()).await.map_err(|_| End::Gone)??;
        String::from_utf8(line).map_err(|_| End::Gone)
    }

    /// A line without its CRLF.
    async fn line(&mut self) -> io::Result<Vec<u8>> {
        loop {
            if let Some(end) = self.input.windows(2).position(|pair| pair == b"\r\n") {
                let mut line: Vec<u8> = self.input.drain(..end + 2).collect();
                line.truncate(end);
                return Ok(line);
            }
            self.read_more().await?;
        }
    }

    async fn read_more(&mut self) -> io::Result<()> {
        let mut some = [0; 8192];
        match self.pipe.read(&mut some).await? {
            0 => Err(io::ErrorKind::UnexpectedEof.into()),
            read => {
                self.input.extend_from_slice(&some[..read]);
                Ok(())
            }
        }
    }

    async fn obey(&mut self, line: &str) -> Result<(), End> {
        self.misbehave().await?;
        let verb = line.split([' ', ':']).next().unwrap_or_default().to_ascii_uppercase();
        match verb.as_str() {
            "EHLO" => self.offer().await,
            "MAIL" => {
                if self.mail {
                    return self.answer("503 5.5.1 nested MAIL").await;
                }
                let refused = self.refusal();
                self.mail = refused.is_none();
                self.answer(&refused.unwrap_or_else(|| "250 2.1.0 ok".into())).await
            }
            "RCPT" => self.recipient(line).await,
            "DATA" => self.data().await,
            "RSET" => {
                self.forget();
                self.answer("250 2.0.0 ok").await
            }
            "QUIT" => {
                self.answer("221 2.0.0 bye").await?;
                Err(End::Gone)
            }
            _ => {
                self.world.blame(format!("{}: the gate said {line:?}", self.name));
                self.answer("500 5.5.2 what?").await
            }
        }
    }

    /// Thinks, and dies or stalls now and then.
    async fn misbehave(&mut self) -> Result<(), End> {
        self.think().await;
        if self.chance.permille(self.temper.dying) {
            return Err(End::Gone);
        }
        if self.chance.permille(self.temper.stalling) {
            return Err(End::Stalled);
        }
        Ok(())
    }

    async fn think(&mut self) {
        let wait = self.chance.spread(1, self.temper.slow.max(1)) - 1;
        if wait > 0 {
            tokio::time::sleep(Duration::from_millis(wait)).await;
        }
    }

    fn refusal(&mut self) -> Option<String> {
        let refusals =
            ["450 4.2.0 later", "451 4.7.1 greylisted", "550 5.1.1 nobody", "421 4.3.2 going"];
        self.chance
            .permille(self.temper.refusing)
            .then(|| (*self.chance.pick(&refusals)).to_owned())
    }

    async fn offer(&mut self) -> Result<(), End> {
        let mut lines = vec!["hop.example"];
        let poor = self.temper.poor;
        let offers = ["PIPELINING", "SIZE 10000000", "8BITMIME", "SMTPUTF8", "DSN"];
        lines.extend(offers.into_iter().filter(|_| !self.chance.permille(poor)));
        let last = lines.len() - 1;
        let text: Vec<String> = lines
            .iter()
            .enumerate()
            .map(|(at, line)| format!("250{}{line}", if at == last { ' ' } else { '-' }))
            .collect();
        self.answer(&text.join("\r\n")).await
    }

    async fn recipient(&mut self, line: &str) -> Result<(), End> {
        if !self.mail {
            return self.answer("503 5.5.1 MAIL first").await;
        }
        if let Some(refusal) = self.refusal() {
            return self.answer(&refusal).await;
        }
        let address = line.split(['<', '>']).nth(1).unwrap_or_default().to_owned();
        self.recipients.push(address);
        self.answer("250 2.1.5 ok").await
    }

    async fn data(&mut self) -> Result<(), End> {
        if self.recipients.is_empty() {
            return self.answer("554 5.5.1 no valid recipients").await;
        }
        if let Some(refusal) = self.refusal() {
            self.forget();
            return self.answer(&refusal).await;
        }
        self.answer("354 go ahead").await?;
        let text = self.text().await?;
        self.conclude(&text).await
    }

    /// The text without its dots, read at this hop's pace.
    async fn text(&mut self) -> Result<Vec<u8>, End> {
        let mut text = Vec::new();
        let dies_after =
            self.chance.permille(self.temper.dying).then(|| self.chance.spread(1, 4096));
        loop {
            let line = self.line().await?;
            if line == b"." {
                return Ok(text);
            }
            text.extend_from_slice(line.strip_prefix(b".").unwrap_or(&line));
            text.extend_from_slice(b"\r\n");
            if dies_after.is_some_and(|octets| text.len() as u64 >= octets) {
                return Err(End::Gone);
            }
        }
    }

    /// The final dot is here: takes the text or not, and answers or not.
    async fn conclude(&mut self, text: &[u8]) -> Result<(), End> {
        self.world.dot_arrived();
        if self.chance.permille(self.temper.vanishing) {
            return self.vanish(text).await;
        }
        self.think().await;
        if let Some(refusal) = self.refusal() {
            self.forget();
            return self.answer(&refusal).await;
        }
        let id = self.world.take(&self.name, &self.recipients, text);
        self.forget();
        self.answer("250 2.0.0 queued").await?;
        if let Some(id) = id {
            self.world.answered(id);
        }
        Ok(())
    }

    /// Gone without an answer; what it has, it may still take, up to some minutes later.
    async fn vanish(&mut self, text: &[u8]) -> Result<(), End> {
        let end = if self.chance.permille(500) { End::Gone } else { End::Stalled };
        if self.chance.permille(500) {
            let late = self.chance.spread(1, LATE_MILLIS_MAX);
            tokio::time::sleep(Duration::from_millis(late)).await;
            self.world.take(&self.name, &self.recipients, text);
        }
        Err(end)
    }

    fn forget(&mut self) {
        self.mail = false;
        self.recipients.clear();
    }

    async fn answer(&mut self, reply: &str) -> Result<(), End> {
        let last = reply.rsplit("\r\n").next().unwrap_or(reply);
        self.world.note(|| format!("{}: {last}", self.name));
        self.pipe.write_all(format!("{reply}\r\n").as_bytes()).await?;
        if reply.starts_with("421") { Err(End::Gone) } else { Ok(()) }
    }
}

/// How late a text that nobody confirmed may still be taken; less than `limits.unknown_margin`.
const LATE_MILLIS_MAX: u64 = 300_000;
