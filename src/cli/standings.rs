//! `tollgate case`, `tollgate client` and `tollgate breaker`: what the abuse desk looks up and decides.

use super::{
    CliError,
    args::{BreakerCommand, CaseCommand, ClientCommand, Gate},
    client::segment,
    remote::{Remote, at_text},
    table::{Table, shown},
};
use crate::admin::{BreakerView, CaseView, ClientForgiven, Why};
use hyper::Method;
use std::fmt::Write;

/// `tollgate case …`
pub(super) fn case(command: CaseCommand, gate: &Gate) -> Result<(), CliError> {
    let CaseCommand::Show { case } = command;
    let remote = Remote::new(gate)?;
    let found: CaseView = remote.client.read(&format!("/v1/cases/{}", segment(case.as_str())))?;
    remote.print(&found, case_text)
}

/// `tollgate client …`
pub(super) fn client(command: ClientCommand, gate: &Gate) -> Result<(), CliError> {
    let ClientCommand::Forgive { address, reason } = command;
    let remote = Remote::new(gate)?;
    let path = format!("/v1/clients/{}/forgive", segment(&address.to_string()));
    let done: ClientForgiven = remote.client.send(Method::POST, &path, &Why { reason })?;
    remote.print(&done, |done| format!("client {}: active, was {}\n", done.client, done.standing))
}

/// `tollgate breaker …`
pub(super) fn breaker(command: BreakerCommand, gate: &Gate) -> Result<(), CliError> {
    let remote = Remote::new(gate)?;
    let found: BreakerView = match command {
        BreakerCommand::Show => remote.client.read("/v1/breaker")?,
        BreakerCommand::Close { reason } => {
            remote.client.send(Method::POST, "/v1/breaker/close", &Why { reason })?
        }
    };
    remote.print(&found, breaker_text)
}

fn breaker_text(view: &BreakerView) -> String {
    view.since.map_or_else(
        || String::from("closed: rules may suspend\n"),
        |since| format!("open since {}: no rule suspends until it is closed\n", at_text(since)),
    )
}

fn case_text(case: &CaseView) -> String {
    let mut facts = Table::plain();
    facts.row(["case".into(), case.case.to_string()]);
    facts.row(["suspended".into(), case.subject.clone()]);
    let until = case.until.map(|until| format!(" until {}", at_text(until))).unwrap_or_default();
    let over = if case.present { "" } else { " (over)" };
    facts.row(["since".into(), format!("{}{until}{over}", at_text(case.since))]);
    facts.row(["by".into(), case.actor.clone()]);
    facts.row(["reason".into(), case.reason.clone()]);
    let mut text = facts.render("");
    if let Some(points) = case.points {
        let _ = write!(text, "\n{points:.1} points\n{}", signals_table(case));
    }
    if !case.messages.is_empty() {
        let _ = write!(text, "\nfirst messages\n{}", messages_table(case));
    }
    text
}

fn signals_table(case: &CaseView) -> String {
    let mut table = Table::new(&["SIGNAL", "POINTS"]);
    for signal in &case.signals {
        table.row([signal.signal.clone(), format!("{:.1}", signal.points)]);
    }
    table.render("  ")
}

fn messages_table(case: &CaseView) -> String {
    let mut table = Table::new(&["AT", "CLIENT", "FROM", "RCPTS", "POINTS", "SUBJECT", "WHY"]);
    for message in &case.messages {
        table.row([
            at_text(message.at),
            message.client.clone(),
            shown(&message.from).clone(),
            message.recipients.to_string(),
            format!("{:.1}", message.points),
            shown(&message.subject).clone(),
            message.reasons.join("; "),
        ]);
    }
    table.render("  ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::admin::{SampleView, SignalView};
    use crate::types::Timestamp;

    #[test]
    fn a_case_shows_what_it_rests_on() {
        let at = Timestamp::from_millis(0);
        let case = CaseView {
            case: "TG-7K3M-92QX".parse().unwrap(),
            subject: "account a@shop.example".into(),
            since: at,
            until: Some(Timestamp::from_millis(1_000)),
            present: true,
            reason: "9.0 points: traps 9.0".into(),
            actor: "spam rules".into(),
            points: Some(9.0),
            signals: vec![SignalView { signal: "traps".into(), points: 9.0 }],
            messages: vec![SampleView {
                at,
                client: "192.0.2.7".into(),
                from: "a@shop.example".into(),
                recipients: 3,
                subject: "win\u{1b}[2J now".into(),
                points: 9.0,
                reasons: vec!["3 traps".into()],
            }],
        };
        let text = case_text(&case);
        for part in [
            "case       TG-7K3M-92QX",
            "1970-01-01T00:00:00Z until 1970-01-01T00:00:01Z",
            "9.0 points",
            "192.0.2.7",
            "3 traps",
        ] {
            assert!(text.contains(part), "{part:?} in {text}");
        }
        assert!(!text.contains('\u{1b}'), "{text:?}");
        let past = case_text(&CaseView { present: false, points: None, until: None, ..case });
        assert!(past.contains("00Z (over)") && !past.contains("SIGNAL"), "{past}");
    }

    #[test]
    fn the_breaker_says_since_when_it_is_open() {
        let open = BreakerView { open: true, since: Some(Timestamp::from_millis(0)) };
        assert!(breaker_text(&open).starts_with("open since 1970-01-01T00:00:00Z"));
        assert!(breaker_text(&BreakerView { open: false, since: None }).starts_with("closed"));
    }
}
