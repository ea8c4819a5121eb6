//! Sends tenants that have a contact their report when a week or a month has ended.
//!
//! That a letter is sent is noted durably before it goes out and taken back if the next hop did not take it, so each tenant gets one for
//! each period, also across restarts; one whose fate is unknown may come twice. What ended too long ago is not sent any more: whoever
//! turns letters on does not write to everybody about the past.

use super::{Post, PostError};
use crate::{
    admin::{self, Admin, AdminError, SubjectView},
    notify::Letter,
    rules::tally::{calendar::Day, period::Period},
    types::{Address, Domain, ReversePath},
};
use std::time::Duration;

/// How often tenants are written to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Letters {
    /// Never.
    None,
    /// When a week, from Monday to Sunday, has ended.
    Weekly,
    /// When a month has ended.
    Monthly,
}

/// How tenants are written to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReportLetters {
    /// How often.
    pub every: Letters,
    /// The address in `From:`; none: the server's name makes none, and nothing is sent.
    pub from: Option<Address>,
    /// The name of the server.
    pub host: Domain,
}

/// What sends reports.
pub struct Reports {
    /// Where they come from.
    pub admin: Admin,
    /// Letters go this way.
    pub post: Post,
    /// How and how often.
    pub letters: ReportLetters,
}

impl Reports {
    /// Looks now and then whether a period has ended.
    pub async fn run(self) {
        tokio::time::sleep(FIRST_AFTER).await;
        loop {
            if let Err(error) = self.send_due().await {
                tracing::error!(%error, "reports could not be sent; they are tried again");
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }

    async fn send_due(&self) -> Result<(), AdminError> {
        let today = self.admin.zone.day_of(self.admin.clock.utc());
        let (Some(period), Some(from)) = (due(self.letters.every, today), &self.letters.from)
        else {
            return Ok(());
        };
        let mut after = None;
        loop {
            let (tenants, next) = admin::report_tenants(&self.admin, after).await?;
            for tenant in tenants {
                if let Some(contact) = tenant.contact.clone() {
                    self.send(&period, &tenant, contact, from.clone()).await?;
                }
            }
            after = next;
            if after.is_none() {
                return Ok(());
            }
        }
    }

    async fn send(
        &self,
        period: &Period,
        tenant: &SubjectView,
        contact: Address,
        from: Address,
    ) -> Result<(), AdminError> {
        let Ok(name) = tenant.name.parse() else { return Ok(()) };
        let archive = &self.admin.archive;
        if !archive.begin_letter(Clone::clone(&name), period.to_string()).await? {
            return Ok(());
        }
        let document = admin::report_of(&self.admin, period, &name).await?.for_tenant();
        let (subject, text, html) = admin::report_letter(&document);
        let date = self.admin.clock.utc();
        let letter = Letter {
            to: vec![contact],
            from,
            host: self.letters.host.clone(),
            id: format!("report.{}", date.as_millis()),
            date,
            subject,
            text,
            html,
        };
        match self.post.send(&letter, ReversePath::Null).await {
            Ok(()) => Ok(()),
            Err(error @ PostError::Refused(_)) => {
                // It would be refused again.
                tracing::warn!(tenant = %name, %error, "a report was not delivered");
                Ok(())
            }
            Err(error @ PostError::Unavailable(_)) => {
                tracing::warn!(tenant = %name, %error, "a report is tried again later");
                Ok(archive.take_letter_back(name, period.to_string()).await?)
            }
        }
    }
}

/// The period that ended last, if that is not too long ago.
fn due(every: Letters, today: Day) -> Option<Period> {
    let name = match every {
        Letters::None => return None,
        Letters::Weekly => "last-week",
        Letters::Monthly => "last-month",
    };
    let period = Period::parse(name, today).ok()?;
    (today.number() - period.last().number() <= SENT_WITHIN_DAYS).then_some(period)
}

/// A tenant is written to within so many days after the end of a period.
const SENT_WITHIN_DAYS: i32 = 7;
const FIRST_AFTER: Duration = Duration::from_secs(3);
const LOOK_EVERY: Duration = Duration::from_secs(600);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_is_due_for_a_week_after_its_period() {
        for (every, today, due_for) in [
            (Letters::None, "2026-11-01", None),
            (Letters::Monthly, "2026-11-01", Some("2026-10-01..2026-10-31")),
            (Letters::Monthly, "2026-11-07", Some("2026-10-01..2026-10-31")),
            (Letters::Monthly, "2026-11-08", None),
            (Letters::Weekly, "2026-11-23", Some("2026-11-16..2026-11-22")),
            (Letters::Weekly, "2026-11-29", Some("2026-11-16..2026-11-22")),
        ] {
            let period = due(every, Day::of(today.parse().unwrap()));
            assert_eq!(period.map(|p| p.to_string()).as_deref(), due_for, "{every:?} {today}");
        }
    }
}
