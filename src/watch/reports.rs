//! Sends tenants that have a contact their report when a week or a month has ended.
//!
//! That a letter is sent is noted durably before it goes out, when everything that can fail here is done, and taken back if the next
//! hop did not take it, so each tenant gets one for each period, also across restarts. One whose fate is unknown is not sent again:
//! a report that comes every ten minutes is worse than one that is missing. What ended too long ago is not sent any more: whoever
//! turns letters on does not write to everybody about the past.

use super::{Post, PostError};
use crate::{
    admin::{self, Admin, AdminError, SubjectView},
    notify::Letter,
    rules::tally::{calendar::Day, period::Period},
    store::records::Task,
    types::{Address, Domain, ReversePath, TenantId},
};
use std::{fmt::Write as _, time::Duration};

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
        // Of several nodes one is enough; the others hear whom it wrote to.
        if !self.admin.records.leads(Task::SendReports).await? {
            return Ok(());
        }
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
        let Ok(name) = tenant.name.parse::<TenantId>() else { return Ok(()) };
        let archive = &self.admin.archive;
        if archive.has_letter(name.clone(), period.to_string()).await? {
            return Ok(());
        }
        let letter = self.compose(period, &name, contact, from).await?;
        if !archive.begin_letter(name.clone(), period.to_string(), letter.date).await? {
            return Ok(());
        }
        match self.post.send(&letter, ReversePath::Null).await {
            Ok(()) => Ok(()),
            Err(error @ (PostError::Refused(_) | PostError::Unknown(_))) => {
                // It would be refused again, or may be there already.
                tracing::warn!(tenant = %name, %error, "a report was not delivered, or may not have been");
                Ok(())
            }
            Err(error @ (PostError::Deferred(_) | PostError::Unavailable(_))) => {
                tracing::warn!(tenant = %name, %error, "a report is tried again later");
                Ok(archive.take_letter_back(name, period.to_string(), letter.date).await?)
            }
        }
    }

    async fn compose(
        &self,
        period: &Period,
        tenant: &TenantId,
        contact: Address,
        from: Address,
    ) -> Result<Letter, AdminError> {
        let document = admin::report_of(&self.admin, period, tenant).await?.for_tenant();
        let (subject, text, html) = admin::report_letter(&document);
        Ok(Letter {
            to: vec![contact],
            from,
            host: self.letters.host.clone(),
            id: letter_id(period, tenant),
            date: self.admin.clock.utc(),
            subject,
            text,
            html,
        })
    }
}

/// What a letter's Message-ID begins with: the same for the same tenant and period, and without the tenant's name, which may hold
/// anything.
fn letter_id(period: &Period, tenant: &TenantId) -> String {
    let digest = ring::digest::digest(&ring::digest::SHA256, tenant.as_str().as_bytes());
    let mut id = format!("report.{}.{}.", period.first(), period.last());
    for octet in &digest.as_ref()[..TENANT_OCTETS] {
        // Writing to a string cannot fail.
        let _ = write!(id, "{octet:02x}");
    }
    id
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
const TENANT_OCTETS: usize = 8;
const FIRST_AFTER: Duration = Duration::from_secs(3);
const LOOK_EVERY: Duration = Duration::from_secs(600);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        admin::fixture,
        deliver::tests::{Hop, deliverer},
        types::SubjectId,
    };

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

    #[test]
    fn a_letter_that_is_sent_again_is_the_same_letter() {
        let october = Period::parse("2026-10", Day::new(0)).unwrap();
        let november = Period::parse("2026-11", Day::new(0)).unwrap();
        let id = |period: &Period, tenant: &str| letter_id(period, &tenant.parse().unwrap());
        assert_eq!(id(&october, "shop.example"), id(&october, "shop.example"));
        assert!(id(&october, "shop.example").starts_with("report.2026-10-01.2026-10-31."));
        assert_ne!(id(&october, "shop.example"), id(&october, "mall.example"));
        assert_ne!(id(&october, "shop.example"), id(&november, "shop.example"));
    }

    #[tokio::test]
    async fn a_letter_is_taken_back_if_it_did_not_leave_and_never_if_it_may_have() {
        for (answer, is_noted) in
            [("> 250 queued", true), ("> 451 later", false), ("> 554 no", true), ("close", true)]
        {
            let gate = fixture::gate();
            let envelope = "< MAIL\n< RCPT\n> 250 ok\n> 250 ok";
            let hop = Hop::start(&[&format!("hello\n{envelope}\ndata\n{answer}")]).await;
            let to_hop = deliverer(&[&hop]);
            let post = Post::new(move || to_hop.clone());
            let letters = ReportLetters {
                every: Letters::Monthly,
                from: Some("gate@gate.example".parse().unwrap()),
                host: "gate.example".parse().unwrap(),
            };
            let reports = Reports { admin: gate.admin.clone(), post, letters };
            let period = Period::parse("2026-10", Day::new(0)).unwrap();
            let tenant: TenantId = "shop.example".parse().unwrap();
            let who = admin::Who::from(SubjectId::Tenant(tenant.clone()));
            let view = admin::show(&reports.admin, &who).await.unwrap();
            let (to, from) = ("owner@shop.example", "gate@gate.example");
            reports.send(&period, &view, to.parse().unwrap(), from.parse().unwrap()).await.unwrap();
            let noted = reports.admin.archive.has_letter(tenant, period.to_string()).await;
            assert_eq!(noted.unwrap(), is_noted, "{answer:?}");
        }
    }
}
