//! Commands: is it legal now (`check_…`), and what it does (`proceed_…`). The table is in [`Session::check`] and
//! [`Session::proceed`].

use super::{
    Ask, CloseReason, EndReason, Greeting, NO_EXTENSIONS, Output, Refusal, Service, Session, Slot,
    Speaker, State, Transaction, lines::Line, text::TOO_LARGE,
};
use crate::{
    smtp::{
        MailRequest, RcptRequest,
        command::{Command, CommandError, Context, Offer, Verb},
    },
    types::{Domain, Timestamp},
};
use bytes::BytesMut;
use std::sync::Arc;

impl Session {
    pub(super) fn obey(&mut self, line: &[u8], now: Timestamp) {
        // A message of which the first chunks are here may come to its end.
        if self.service == Service::Draining && !matches!(self.state, State::Chunks(..)) {
            return self.stop();
        }
        if matches!(self.state, State::Sasl(_)) {
            return self.obey_sasl(line);
        }
        let (verb, arguments) = Verb::split(line);
        if let Err(refusal) = self.obey_command(verb, arguments, now) {
            self.refuse(&refusal);
        }
    }

    fn obey_command(
        &mut self,
        verb: Verb,
        arguments: &[u8],
        now: Timestamp,
    ) -> Result<(), Refusal> {
        self.check(verb)?;
        let command = Command::parse(verb, arguments, &self.context())?;
        self.proceed(command, now)
    }

    /// Is this command legal now?
    fn check(&self, verb: Verb) -> Result<(), Refusal> {
        match verb {
            Verb::Mail => self.check_mail(),
            Verb::Rcpt => self.check_rcpt(),
            Verb::Data => self.check_data(),
            // Whatever is wrong with it, its octets follow.
            Verb::Bdat => Ok(()),
            Verb::Auth => self.check_auth(),
            Verb::StartTls => self.check_starttls(),
            Verb::Xclient => self.check_claim(self.settings.xclient),
            Verb::Xforward => self.check_claim(self.settings.xforward),
            Verb::Helo | Verb::Ehlo | Verb::Rset | Verb::Noop | Verb::Quit => Ok(()),
            Verb::Vrfy | Verb::Expn | Verb::Help | Verb::Unknown => Ok(()),
            Verb::Foreign => Err(Refusal::Fatal("421 4.7.0 this is a mail server")),
        }
    }

    /// Does what a legal command says.
    fn proceed(&mut self, command: Command, now: Timestamp) -> Result<(), Refusal> {
        match command {
            Command::Mail(request) => return self.proceed_mail(request, now),
            Command::Auth { mechanism, initial } => {
                return self.proceed_auth(mechanism, initial.as_deref());
            }
            Command::Rcpt(request) => self.proceed_rcpt(request),
            Command::Data => self.proceed_data(),
            Command::Bdat(size) => self.proceed_bdat(size, now),
            Command::Ehlo(name) => self.proceed_ehlo(name),
            Command::Helo(name) => self.proceed_helo(name),
            Command::Rset => self.proceed_rset(),
            Command::Quit => self.proceed_quit(),
            Command::StartTls => self.proceed_starttls(),
            Command::Xclient(attributes) => self.proceed_xclient(attributes),
            Command::Xforward(attributes) => self.proceed_xforward(attributes),
            Command::Noop => self.say_idle("250 2.0.0 ok"),
            Command::Vrfy => self.say_idle("252 2.5.1 send some mail and see"),
            Command::Help => self.say_idle("214 2.0.0 see RFC 5321"),
        }
        Ok(())
    }

    fn check_mail(&self) -> Result<(), Refusal> {
        if self.is_in_transaction() {
            return Err(Refusal::Fault("503 5.5.1 MAIL was given already"));
        }
        if self.greeting.is_none() {
            return Err(Refusal::Fault("503 5.5.1 EHLO first"));
        }
        self.check_tls()?;
        if self.settings.require_auth && !self.is_authenticated() {
            return Err(Refusal::Fault("530 5.7.0 authentication required"));
        }
        Ok(())
    }

    pub(super) fn check_tls(&self) -> Result<(), Refusal> {
        if self.settings.require_tls && !self.is_tls() {
            return Err(Refusal::Fault("530 5.7.0 STARTTLS first"));
        }
        Ok(())
    }

    fn proceed_mail(&mut self, request: MailRequest, now: Timestamp) -> Result<(), Refusal> {
        if request.size.is_some_and(|size| size > self.size_bytes_max()) {
            return Err(Refusal::Policy(TOO_LARGE));
        }
        self.state = State::AskedMail(Transaction {
            utf8: if request.smtputf8 { Offer::Yes } else { Offer::No },
            attempted: 0,
            accepted: 0,
            deadline: now + self.settings.transaction_time_max,
        });
        self.outputs.push_back(Output::Ask(Ask::Mail(request)));
        Ok(())
    }

    /// RCPT or DATA without a transaction: the client's fault, unless it pipelined them behind a MAIL that was refused.
    pub(super) const fn no_mail(&self) -> Refusal {
        const TEXT: &str = "503 5.5.1 MAIL first";
        if self.orphans_left > 0 { Refusal::Policy(TEXT) } else { Refusal::Fault(TEXT) }
    }

    fn check_rcpt(&self) -> Result<(), Refusal> {
        match self.state {
            State::Envelope(_) => Ok(()),
            _ => Err(self.no_envelope()),
        }
    }

    /// Collects this and the RCPT commands that are complete behind it into one ask.
    fn proceed_rcpt(&mut self, first: RcptRequest) {
        let State::Envelope(transaction) = self.state else { return };
        let room = self.settings.recipients_max.saturating_sub(transaction.accepted);
        if room == 0 {
            self.say("452 4.5.3 too many recipients");
            let transaction = self.note_attempts(transaction, 1, 0);
            self.state = State::Envelope(transaction);
            return;
        }
        let (mut slots, mut requests) = (vec![Slot::Asked], vec![first]);
        while requests.len() < room && slots.len() < GROUP_MAX {
            let Some(parsed) = self.next_rcpt() else { break };
            slots.push(match parsed {
                Ok(request) => {
                    requests.push(request);
                    Slot::Asked
                }
                Err(error) => {
                    self.errors += 1;
                    Slot::Said(error.reply())
                }
            });
        }
        self.state = State::AskedRecipients(transaction, slots);
        self.outputs.push_back(Output::Ask(Ask::Recipients(requests)));
    }

    /// Counts recipients that were answered. Refused ones are nobody's fault up to a number, then each is an error.
    pub(super) fn note_attempts(
        &mut self,
        mut transaction: Transaction,
        attempted: usize,
        accepted: usize,
    ) -> Transaction {
        transaction.attempted += attempted;
        transaction.accepted += accepted;
        if transaction.attempted - transaction.accepted > RECIPIENTS_REFUSED_MAX {
            self.errors += u32::try_from(attempted - accepted).unwrap_or(u32::MAX);
        }
        transaction
    }

    /// Takes the next line if it is there and is RCPT. Once there were too many errors nothing more is taken.
    fn next_rcpt(&mut self) -> Option<Result<RcptRequest, CommandError>> {
        let Line::Whole(end) = self.find_line() else { return None };
        if self.errors >= self.settings.errors_max
            || Verb::split(&self.buffer[..end.at]).0 != Verb::Rcpt
        {
            return None;
        }
        let line = self.take_line(end);
        match Command::parse(Verb::Rcpt, Verb::split(&line).1, &self.context()) {
            Ok(Command::Rcpt(request)) => Some(Ok(request)),
            Ok(_) => None,
            Err(error) => Some(Err(error)),
        }
    }

    fn greet(&mut self, greeting: Greeting) {
        self.end_transaction(EndReason::Reset);
        self.greeting = Some(greeting);
        if let Some(claims) = &mut self.claims
            && claims.speaker == Speaker::ServerForClient
        {
            claims.speaker = Speaker::Client;
        }
    }

    fn proceed_helo(&mut self, name: Domain) {
        self.greet(Greeting::Helo(name));
        let line = format!("250 {}", self.settings.hostname);
        self.say_idle(&line);
    }

    fn proceed_ehlo(&mut self, name: Domain) {
        self.greet(Greeting::Ehlo(name));
        self.note_idle();
        let settings = Arc::clone(&self.settings);
        let offered = &settings.extensions;
        let size = format!("SIZE {}", self.size_bytes_max());
        let auth = self.auth_line();
        let claims = self.check_speaker().is_ok();
        let lines = [
            (true, settings.hostname.as_str()),
            (offered.pipelining, "PIPELINING"),
            (offered.size.is_some(), &size),
            (offered.eight_bit_mime, "8BITMIME"),
            (offered.smtputf8, "SMTPUTF8"),
            (offered.enhanced_status_codes, "ENHANCEDSTATUSCODES"),
            (offered.dsn, "DSN"),
            (true, "CHUNKING"),
            (settings.starttls && !self.is_tls(), "STARTTLS"),
            (!auth.is_empty(), &auth),
            (settings.xforward && claims, "XFORWARD NAME ADDR PORT PROTO HELO SOURCE"),
            (settings.xclient && claims, "XCLIENT NAME ADDR PORT PROTO HELO LOGIN"),
        ];
        self.say_lines(lines.iter().filter(|(offered, _)| *offered).map(|&(_, line)| line));
    }

    fn proceed_rset(&mut self) {
        self.end_transaction(EndReason::Reset);
        self.say_idle("250 2.0.0 ok");
    }

    fn proceed_quit(&mut self) {
        self.say("221 2.0.0 bye");
        self.end(CloseReason::Quit, EndReason::Quit);
    }

    fn check_starttls(&self) -> Result<(), Refusal> {
        if self.is_tls() {
            return Err(Refusal::Fault("503 5.5.1 TLS is on already"));
        }
        if !self.settings.starttls {
            return Err(Refusal::Fault(CommandError::NotImplemented.reply()));
        }
        self.check_no_transaction()
    }

    fn proceed_starttls(&mut self) {
        self.say("220 2.0.0 go ahead");
        self.flush();
        self.outputs.push_back(Output::StartTls);
        // What came behind STARTTLS in plaintext may be somebody else's (CVE-2011-0411).
        self.buffer = BytesMut::new();
        self.state = State::TlsHandshake;
    }

    /// RCPT or DATA where none may come.
    pub(super) fn no_envelope(&self) -> Refusal {
        match self.state {
            State::Chunks(..) | State::ChunksFailed(_) => {
                Refusal::Fault("503 5.5.1 BDAT has begun already")
            }
            _ => self.no_mail(),
        }
    }

    pub(super) fn check_no_transaction(&self) -> Result<(), Refusal> {
        if self.is_in_transaction() {
            return Err(Refusal::Fault("503 5.5.1 not within a transaction"));
        }
        Ok(())
    }

    fn context(&self) -> Context<'_> {
        let esmtp = self.used_esmtp();
        let mail_auth = esmtp && !self.settings.auth_mechanisms.is_empty();
        Context {
            extensions: if esmtp { &self.settings.extensions } else { &NO_EXTENSIONS },
            mail_auth: if mail_auth { Offer::Yes } else { Offer::No },
            utf8_recipients: self.transaction().map_or(Offer::No, |transaction| transaction.utf8),
        }
    }

    pub(super) fn size_bytes_max(&self) -> u64 {
        let next_hops = self.settings.extensions.size.flatten().unwrap_or(u64::MAX);
        self.settings.size_bytes_max.min(next_hops)
    }
}

/// Refused recipients of one transaction before each counts as an error.
const RECIPIENTS_REFUSED_MAX: usize = 10_000;
/// RCPT commands in one ask.
const GROUP_MAX: usize = 1000;
