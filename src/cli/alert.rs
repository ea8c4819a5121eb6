//! `tollgate alert …`: alerts as a list, and the test whether they arrive.

use super::{
    CliError,
    args::{AlertCommand, Gate},
    client::segment,
    output,
    remote::{Form, Remote, at_text, json_lines},
    table::Table,
};
use crate::admin::{AlertView, Page, SinkTest};
use hyper::Method;

/// `tollgate alert …`
pub(super) fn run(command: AlertCommand, gate: &Gate) -> Result<(), CliError> {
    let remote = Remote::new(gate)?;
    match command {
        AlertCommand::List { all, tenant, max } => {
            let tenant = tenant.map(|tenant| format!("&tenant={}", segment(tenant.as_str())));
            let tenant = tenant.unwrap_or_default();
            let path = format!("/v1/alerts?open={}&max={max}{tenant}", !all);
            let page: Page<AlertView> = remote.client.read(&path)?;
            let text = match remote.form {
                Form::Tables => list_text(&page.items),
                Form::Json => json_lines(&page.items)?,
            };
            output::print(&text);
            Ok(())
        }
        AlertCommand::Test => test(&remote),
    }
}

fn test(remote: &Remote) -> Result<(), CliError> {
    let tests: Vec<SinkTest> = remote.client.send(Method::POST, "/v1/alerts/test", &())?;
    remote.print(&tests, |tests| tests_text(tests))?;
    let failed = tests.iter().filter(|test| test.failure.is_some()).count();
    if failed > 0 {
        return Err(CliError::Failed(format!("{failed} of {} did not take it", tests.len())));
    }
    Ok(())
}

fn list_text(alerts: &[AlertView]) -> String {
    if alerts.is_empty() {
        return String::from("none\n");
    }
    let mut table =
        Table::new(&["SINCE", "STATE", "SEVERITY", "KIND", "SEEN", "WHAT", "DETAIL", "ID"]);
    for alert in alerts {
        table.row([
            at_text(alert.since),
            alert.state.clone(),
            alert.severity.clone(),
            alert.kind.clone(),
            alert.count.to_string(),
            alert.title.clone(),
            alert.detail.clone(),
            alert.id.clone(),
        ]);
    }
    table.render("")
}

fn tests_text(tests: &[SinkTest]) -> String {
    let mut table = Table::new(&["RECEIVER", "RESULT"]);
    for test in tests {
        let result = test.failure.clone().unwrap_or_else(|| String::from("took it"));
        table.row([test.sink.clone(), result]);
    }
    table.render("")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_test_says_what_each_receiver_did() {
        let tests = [
            SinkTest { sink: "email".into(), failure: None },
            SinkTest { sink: "webhook:noc".into(), failure: Some("it answered\u{1b} 500".into()) },
        ];
        assert_eq!(
            tests_text(&tests),
            "RECEIVER     RESULT\nemail        took it\nwebhook:noc  it answered? 500\n"
        );
        assert_eq!(list_text(&[]), "none\n");
    }
}
