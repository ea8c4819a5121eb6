//! Has other programs look into a finished text before it goes on.

use super::transaction::{Sender, Transaction};
use crate::{
    event::{RecipientReport, Scans},
    rules::{
        scan::{self, Objection},
        verdict::{self, Refusal},
    },
    scan::{About, Scanners},
    smtp::data::Unstuffer,
    spool::Body,
};
use bytes::Bytes;
use std::io;

impl Sender<'_> {
    /// What is said of the text is noted with the transaction; an objection to it is a refusal, unless the plan only observes.
    pub(super) async fn scan(
        &self,
        transaction: &mut Transaction,
        body: &Body,
    ) -> Result<(), Refusal> {
        let scanners = self.gate.scanners.load_full();
        if !scanners.settings().asks_somebody() {
            return Ok(());
        }
        let scans = self.asked(&scanners, transaction, body).await;
        transaction.scans = scans.map_err(|_| verdict::spool_full(&self.session))?;
        let Some(objection) = scan::objection(&transaction.scans, &scanners.settings().policy)
        else {
            return Ok(());
        };
        let refusal = self.refusal(transaction, objection);
        self.object(transaction, refusal)
    }

    async fn asked(
        &self,
        scanners: &Scanners,
        transaction: &Transaction,
        body: &Body,
    ) -> io::Result<Scans> {
        // The text is in memory only as long as it has a place.
        let Some(place) = scanners.place().await else { return Ok(scanners.no_place()) };
        let text = beginning(body, scanners.settings().bytes_max).await?;
        let wire = &transaction.wire;
        let accepted = |recipient: &&RecipientReport| recipient.code < 300;
        let recipients = transaction.recipients.iter().filter(accepted);
        let about = About {
            id: transaction.id.as_str(),
            user: transaction.charged().map(|charged| charged.account.as_str()),
            client: transaction.client,
            helo: wire.helo.as_deref(),
            sender: transaction.mail.sender.address().map_or("", |address| address.as_str()),
            recipients: recipients.map(|recipient| recipient.address.as_str()).collect(),
        };
        Ok(scanners.ask(&place, text, &about).await)
    }

    fn refusal(&self, transaction: &Transaction, objection: Objection<'_>) -> Refusal {
        let account = transaction.charged().map(|charged| &charged.account);
        match objection {
            Objection::Virus(name) => verdict::virus(account, name, &self.session),
            Objection::Spam(opinion) => verdict::spam(account, opinion, &self.session),
            Objection::Suspicious(opinion) => verdict::suspicious(account, opinion, &self.session),
            Objection::Unscanned(scanner) => verdict::unscanned(scanner, &self.session),
        }
    }
}

/// The first octets of a text as its recipients get them.
async fn beginning(body: &Body, bytes_max: usize) -> io::Result<Bytes> {
    let (mut pieces, mut unstuffer) = (body.reader(), Unstuffer::default());
    let length = usize::try_from(body.len()).unwrap_or(usize::MAX);
    let mut text = Vec::with_capacity(length.min(bytes_max));
    while text.len() < bytes_max
        && let Some(piece) = pieces.next().await?
    {
        let room = bytes_max - text.len();
        unstuffer.unstuff(&piece[..piece.len().min(room)], &mut text);
    }
    Ok(text.into())
}
