//! Hands letters of the program's own on to the next hop: without a charge, because nobody but the program sends them.

use crate::{
    deliver::{Deliverer, RecipientAnswer, Text, Verdict},
    notify::Letter,
    smtp::{MailRequest, RcptRequest, data::stuff_lines},
    spool::Body,
    types::ReversePath,
};
use bytes::Bytes;
use std::sync::Arc;

/// The way of letters. Cheap to clone.
#[derive(Clone)]
pub struct Post(Arc<dyn Fn() -> Deliverer + Send + Sync>);

/// Why a letter was not handed on.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PostError {
    /// The next hop does not take it.
    #[error("the next hop refused it: {0}")]
    Refused(String),
    /// The next hop works, and does not take it for its readers now.
    #[error("the next hop put it off: {0}")]
    Deferred(String),
    /// The next hop cannot take it now.
    #[error("the next hop did not take it: {0}")]
    Unavailable(String),
    /// It is not known whether the next hop took it.
    #[error("the next hop may have taken it: {0}")]
    Unknown(String),
}

impl Post {
    /// Letters go to whatever deliverer is in force.
    pub fn new(deliverer: impl Fn() -> Deliverer + Send + Sync + 'static) -> Self {
        Self(Arc::new(deliverer))
    }

    /// Hands a letter on; one that somebody got is sent, whoever of its readers was refused.
    ///
    /// # Errors
    /// [`PostError`] if nobody got it.
    pub async fn send(&self, letter: &Letter, sender: ReversePath) -> Result<(), PostError> {
        let text = letter.compose().map_err(|error| PostError::Refused(error.to_string()))?;
        let text = stuff_lines(&text);
        let utf8 = letter.to.iter().any(crate::types::Address::needs_smtputf8);
        let mail = MailRequest {
            sender,
            size: Some(text.len() as u64),
            body: None,
            smtputf8: utf8,
            ret: None,
            envid: None,
            auth: None,
        };
        let mut transaction = (self.0)().begin(mail);
        let request = |address: &crate::types::Address| RcptRequest {
            address: address.clone(),
            notify: None,
            orcpt: None,
        };
        let requests: Vec<RcptRequest> = letter.to.iter().map(request).collect();
        let answers = transaction.recipients(&requests).await;
        if let Some(error) = refusal(&answers) {
            transaction.abort();
            return Err(error);
        }
        let body = Body::from(Bytes::from(text));
        let text = Text { head: Bytes::new(), body: &body, cuts: Vec::new(), dot_by: None };
        outcome(transaction.send(text).await.verdict)
    }
}

/// Why nobody gets it; none if somebody does.
fn refusal(answers: &[RecipientAnswer]) -> Option<PostError> {
    let mut last = PostError::Unavailable("there is nobody to send it to".into());
    for answer in answers {
        last = match answer {
            RecipientAnswer::Answered(reply) if reply.code() / 100 == 2 => return None,
            RecipientAnswer::Answered(reply) if reply.code() / 100 == 5 => {
                PostError::Refused(reply.to_string())
            }
            RecipientAnswer::Answered(reply) => PostError::Deferred(reply.to_string()),
            RecipientAnswer::Unavailable => {
                PostError::Unavailable("no next hop can be reached".into())
            }
            RecipientAnswer::Paused(why) => PostError::Unavailable(why.to_string()),
            RecipientAnswer::Busy => PostError::Unavailable("all connections are in use".into()),
            RecipientAnswer::ExtensionMissing(name) => {
                PostError::Refused(format!("it does not offer {name}"))
            }
        };
    }
    Some(last)
}

fn outcome(verdict: Verdict) -> Result<(), PostError> {
    match verdict {
        Verdict::Accepted(_) => Ok(()),
        Verdict::Refused(reply) if reply.code() / 100 == 5 => {
            Err(PostError::Refused(reply.to_string()))
        }
        Verdict::Refused(reply) | Verdict::RecipientLost(reply) => {
            Err(PostError::Unavailable(reply.to_string()))
        }
        Verdict::Unknown(detail) => Err(PostError::Unknown(detail)),
        Verdict::Unavailable(detail) | Verdict::TextLost(detail) => {
            Err(PostError::Unavailable(detail))
        }
        Verdict::Paused(why) => Err(PostError::Unavailable(why.to_string())),
        Verdict::Overdue => Err(PostError::Unavailable("its time was over".into())),
        Verdict::ExtensionMissing(name) => {
            Err(PostError::Refused(format!("it does not offer {name}")))
        }
    }
}
