//! XCLIENT and XFORWARD: what a peer says of the client behind it.

use super::{ClientClaim, Refusal, Session, Speaker};
use crate::smtp::{data::LineEndings, xclient::Attributes};

impl Session {
    pub(super) fn check_claim(&self, allowed: bool) -> Result<(), Refusal> {
        if !allowed {
            return Err(Refusal::Fault(NOT_AUTHORIZED));
        }
        self.check_speaker()?;
        self.check_no_transaction()
    }

    /// A proxy that says XCLIENT and greets in its client's name lets the client itself speak from then on; were that one
    /// heard too, any customer behind the proxy could name another as the sender.
    pub(super) fn check_speaker(&self) -> Result<(), Refusal> {
        match &self.claims {
            Some(claims) if claims.speaker == Speaker::Client => {
                Err(Refusal::Fault(NOT_AUTHORIZED))
            }
            _ => Ok(()),
        }
    }

    /// The session starts again, as if it were the client's own (Postfix XCLIENT_README).
    /// A peer's line ends are put right, but not those of the strangers that it speaks for.
    pub(super) fn line_endings(&self) -> LineEndings {
        match &self.claims {
            Some(claims) if claims.speaker != Speaker::Server => LineEndings::Strict,
            _ => self.settings.line_endings,
        }
    }

    pub(super) fn proceed_xclient(&mut self, attributes: Attributes) {
        let claims = self.claims.get_or_insert_default();
        claims.speaker = Speaker::ServerForClient;
        attributes.apply(&mut claims.xclient);
        self.forget_envelope();
        self.greeting = None;
        self.say_banner();
    }

    pub(super) fn proceed_xforward(&mut self, attributes: Attributes) {
        let claims = self.claims.get_or_insert_default();
        attributes.clone().apply(&mut claims.xforward);
        attributes.apply(&mut claims.both);
        self.say("250 2.0.0 ok");
    }

    /// XFORWARD is about one transaction (Postfix XFORWARD_README).
    pub(super) fn forget_envelope(&mut self) {
        if let Some(claims) = &mut self.claims {
            claims.xforward = ClientClaim::default();
            claims.both.clone_from(&claims.xclient);
        }
    }
}

const NOT_AUTHORIZED: &str = "550 5.7.0 not authorized";
