//! AUTH (RFC 4954): when it may be used, its exchange, its end.

use super::{
    Ask, CloseReason, EndReason, Login, LoginAnswer, Mechanism, Output, Refusal, ScramAnswer,
    Session, State,
};
use crate::smtp::{
    command::CommandError,
    sasl::{self, SaslError, Step},
    scram::ClientFirst,
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
        if let State::Sasl(exchange) = std::mem::replace(&mut self.state, State::Command) {
            self.go_on(exchange.respond(line));
        }
    }

    fn go_on(&mut self, step: Step) {
        if let Err(refusal) = self.take_step(step) {
            self.refuse(&refusal);
        }
    }

    fn take_step(&mut self, step: Step) -> Result<(), Refusal> {
        match step {
            Step::Challenge(exchange, challenge) => {
                self.state = State::Sasl(exchange);
                self.replies.extend_from_slice(b"334 ");
                self.say(&challenge);
            }
            Step::Salt(first) => {
                let login = first.login().to_owned();
                self.state = State::AskedScram(first);
                self.outputs.push_back(Output::Ask(Ask::Scram { login }));
            }
            Step::Done(request) => {
                self.state = State::AskedLogin(request.mechanism);
                self.outputs.push_back(Output::Ask(Ask::Login(request)));
            }
            Step::Confirmed => self.authenticate(),
            Step::Failed(error) => return Err(Refusal::Fault(sasl_reply(error))),
        }
        Ok(())
    }

    fn authenticate(&mut self) {
        self.login = Login::Authenticated;
        self.say("235 2.7.0 authentication succeeded");
    }

    pub(super) fn take_login(&mut self, mechanism: Mechanism, answer: LoginAnswer) {
        let by_proof = mechanism == Mechanism::ScramSha256;
        match answer {
            LoginAnswer::Accepted if !by_proof => self.authenticate(),
            LoginAnswer::Proven(signature) if by_proof => self.go_on(sasl::prove_scram(&signature)),
            LoginAnswer::Accepted | LoginAnswer::Proven(_) => self.fail(),
            LoginAnswer::Rejected => {
                self.refuse(&Refusal::Fault("535 5.7.8 authentication failed"));
                self.note_login_failure();
            }
            LoginAnswer::Unavailable => self.put_login_off(),
        }
        self.check_errors();
    }

    pub(super) fn take_scram(&mut self, first: ClientFirst, answer: &ScramAnswer) {
        match answer {
            ScramAnswer::Parameters(parameters) => {
                self.go_on(sasl::challenge_scram(first, parameters));
            }
            ScramAnswer::Unavailable => self.put_login_off(),
        }
        self.check_errors();
    }

    fn put_login_off(&mut self) {
        self.say("454 4.7.0 temporary authentication failure");
        self.note_login_failure();
    }

    /// Whoever guesses begins anew, which the listener paces; whoever mistyped has had a few tries.
    fn note_login_failure(&mut self) {
        self.login_failures += 1;
        if self.login_failures >= self.settings.login_failures_max {
            self.say("421 4.7.0 too many failed logins");
            self.end(CloseReason::TooManyErrors, EndReason::Closed);
        }
    }
}

/// RFC 4954 §4 and §6.
pub(super) const fn sasl_reply(error: SaslError) -> &'static str {
    match error {
        SaslError::Cancelled => "501 5.7.0 authentication cancelled",
        SaslError::Malformed => "501 5.5.2 malformed authentication response",
        SaslError::TooLong => "500 5.5.6 authentication response too long",
        SaslError::ChannelBinding => "504 5.5.4 channel binding is not offered",
    }
}
