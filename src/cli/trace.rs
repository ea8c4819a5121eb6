//! `tollgate trace`: what happened to messages, one paragraph for each event.

use super::{
    CliError,
    args::Gate,
    output,
    remote::{Form, Remote, at_text, json_lines},
    table::{Table, shown},
};
use crate::admin::{Page, TraceRequest, Traced};
use hyper::Method;
use std::fmt::Write;

/// `tollgate trace WHAT`
pub(super) fn show(request: &TraceRequest, max: usize, gate: &Gate) -> Result<(), CliError> {
    let remote = Remote::new(gate)?;
    let mut found = Vec::new();
    let mut after = None;
    while found.len() < max {
        let room = Some((max - found.len()).min(PAGE_MAX));
        let page = TraceRequest { after, max: room, ..request.clone() };
        let page: Page<Traced> = remote.client.send(Method::POST, "/v1/trace", &page)?;
        found.extend(page.items);
        after = page.next;
        if after.is_none() {
            break;
        }
    }
    found.reverse();
    let text = match remote.form {
        Form::Json => json_lines(&found)?,
        Form::Tables if found.is_empty() => {
            format!("nothing is known of {}; see archive.keep_events\n", shown(request.of.as_str()))
        }
        Form::Tables => found.iter().map(paragraph).collect::<Vec<_>>().join("\n"),
    };
    output::print(&text);
    Ok(())
}

fn paragraph(traced: &Traced) -> String {
    let how = traced.outcome.as_ref().or(traced.reason.as_ref());
    let id = traced.id.as_ref().or(traced.session.as_ref());
    let mut text = format!("{}  {}", at_text(traced.at), traced.event);
    for word in [how, id].into_iter().flatten() {
        // Writing to a string cannot fail.
        let _ = write!(text, " {}", shown(word));
    }
    text.push('\n');
    let mut facts = Table::plain();
    let mut fact = |name: &str, value: Option<String>| {
        if let Some(value) = value {
            facts.row([name.to_owned(), value]);
        }
    };
    fact("account", traced.account.as_ref().map(|account| account_text(traced, account)));
    fact("client", traced.client.clone());
    fact("from", traced.from.as_ref().map(|from| format!("<{from}>")));
    for recipient in &traced.to {
        let answer = format!("<{}>: {} by {}", recipient.to, recipient.code, recipient.by);
        fact("to", Some(answer));
    }
    fact("message-id", traced.message_id.as_ref().map(|id| format!("<{id}>")));
    fact("size", traced.size.filter(|size| *size > 0).map(|size| format!("{size} octets")));
    fact("next hop", next_hop_text(traced));
    fact("client heard", traced.reply.clone());
    text.push_str(&facts.render("  "));
    text
}

fn account_text(traced: &Traced, account: &str) -> String {
    let mut text = account.to_owned();
    if let Some(tenant) = &traced.tenant {
        let _ = write!(text, ", tenant {tenant}");
    }
    if let Some(evidence) = &traced.evidence {
        let _ = write!(text, ", by {evidence}");
    }
    if let Some(peer) = &traced.peer {
        let _ = write!(text, " through {peer}");
    }
    text
}

fn next_hop_text(traced: &Traced) -> Option<String> {
    let mut text = traced.next_hop.clone()?;
    if let Some(reply) = &traced.next_hop_reply {
        let _ = write!(text, ": {reply}");
    }
    if let Some(millis) = traced.next_hop_ms {
        let _ = write!(text, " (after {millis} ms)");
    }
    Some(text)
}

/// The most events that are asked for at once.
const PAGE_MAX: usize = 200;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::admin::TracedRecipient;

    #[test]
    fn an_event_is_a_paragraph_with_what_is_known_of_it() {
        let traced = Traced {
            event: "message".into(),
            outcome: Some("sent".into()),
            id: Some("0bw.1".into()),
            account: Some("a@shop.example".into()),
            tenant: Some("shop.example".into()),
            evidence: Some("auth".into()),
            from: Some(String::new()),
            to: vec![TracedRecipient {
                to: "b@x.example".into(),
                code: 250,
                by: "next-hop".into(),
            }],
            next_hop: Some("mx:25".into()),
            next_hop_reply: Some("250 ok\u{1b}".into()),
            next_hop_ms: Some(5),
            reply: Some("250 2.0.0 ok".into()),
            ..Traced::default()
        };
        assert_eq!(
            paragraph(&traced),
            "1970-01-01T00:00:00Z  message sent 0bw.1\n\
             \x20 account       a@shop.example, tenant shop.example, by auth\n\
             \x20 from          <>\n\
             \x20 to            <b@x.example>: 250 by next-hop\n\
             \x20 next hop      mx:25: 250 ok? (after 5 ms)\n\
             \x20 client heard  250 2.0.0 ok\n"
        );
        let empty = Traced { event: "refused".into(), ..Traced::default() };
        assert_eq!(paragraph(&empty), "1970-01-01T00:00:00Z  refused\n");
    }
}
