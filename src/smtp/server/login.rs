//! AUTH (RFC 4954): when it may be used, its exchange, its end.

use super::{Ask, Login, LoginAnswer, Mechanism, Output, Refusal, Session, State};
use crate::smtp::{
    command::CommandError,
    sasl::{self, SaslError, Step},
};

impl Session {
    /// The line that offers AUTH; empty if it cannot be used now.
    pub(super) fn auth_line(&self) -> String {
        if self.is_authenticated() || self.check_auth_channel().is_err() {
            return String::new();
        }
        let names = self.settings.auth_mechanisms.iter().map(|mechanism| mechanism.name());
        names.fold(String::from("AUTH"), |line, name| line + " " + name)
    }

    pub(super) fn check_auth(&self) -> Result<(), Refusal> {
        self.check_auth_channel()?;
        if self.is_authenticated() {
            return Err(Refusal::Fault("503 5.5.1 authenticated already"));
        }
        if !self.used_esmtp() {
            return Err(Refusal::Fault("503 5.5.1 EHLO first"));
        }
        self.check_no_transaction()
    }

    /// Is AUTH offered on this connection as it stands?
    fn check_auth_channel(&self) -> Result<(), Refusal> {
        if self.settings.auth_mechanisms.is_empty() {
            return Err(Refusal::Fault(CommandError::NotImplemented.reply()));
        }
        self.check_tls()?;
        if !self.is_tls() && !self.settings.allow_plaintext_auth {
            return Err(Refusal::Fault("538 5.7.11 encryption required for authentication"));
        }
        Ok(())
    }

    pub(super) fn proceed_auth(
        &mut self,
        mechanism: Mechanism,
        initial: Option<&str>,
    ) -> Result<(), Refusal> {
        if !self.settings.auth_mechanisms.contains(&mechanism) {
            return Err(CommandError::Mechanism.into());
        }
        self.take_step(sasl::begin(mechanism, initial))
    }

    pub(super) fn obey_sasl(&mut self, line: &[u8]) {
        if let State::Sasl(exchange) = std::mem::replace(&mut self.state, State::Command)
            && let Err(refusal) = self.take_step(exchange.respond(line))
        {
            self.refuse(&refusal);
        }
    }

    fn take_step(&mut self, step: Step) -> Result<(), Refusal> {
        match step {
            Step::Challenge(exchange, challenge) => {
                self.state = State::Sasl(exchange);
                self.replies.extend_from_slice(b"334 ");
                self.say(challenge);
            }
            Step::Done(request) => {
                self.state = State::AskedLogin;
                self.outputs.push_back(Output::Ask(Ask::Login(request)));
            }
            Step::Failed(error) => return Err(Refusal::Fault(sasl_reply(error))),
        }
        Ok(())
    }

    pub(super) fn take_login(&mut self, answer: LoginAnswer) {
        match answer {
            LoginAnswer::Accepted => {
                self.login = Login::Authenticated;
                self.say("235 2.7.0 authentication succeeded");
            }
            LoginAnswer::Rejected => {
                self.refuse(&Refusal::Fault("535 5.7.8 authentication failed"));
            }
            LoginAnswer::Unavailable => self.say("454 4.7.0 temporary authentication failure"),
        }
        self.check_errors();
    }
}

/// RFC 4954 §4 and §6.
pub(super) const fn sasl_reply(error: SaslError) -> &'static str {
    match error {
        SaslError::Cancelled => "501 5.7.0 authentication cancelled",
        SaslError::Malformed => "501 5.5.2 malformed authentication response",
        SaslError::TooLong => "500 5.5.6 authentication response too long",
    }
}
