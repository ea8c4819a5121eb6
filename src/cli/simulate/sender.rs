//! Who a message of a trace is charged to: the login, else what the server that handed it in says of it.

use super::trace::Event;

/// The sender's name: `auth:LOGIN`, `uid:SERVER/UID`, `fwd:ALIAS`, `relay:SERVER`, `from:ADDRESS`, `ip:ADDRESS`.
pub(super) fn identity(event: &Event<'_>) -> String {
    if let Some(login) = &event.auth {
        return format!("auth:{login}");
    }
    let relay = event.relay.as_deref().unwrap_or_default();
    if let Some(uid) = field(&event.h, "X-PHP-Originating-Script").and_then(|v| v.split(':').next())
    {
        return format!("uid:{relay}/{uid}");
    }
    if let Some(alias) =
        field(&event.h, "X-Forwarded-For").and_then(|v| v.split_whitespace().next())
    {
        return format!("fwd:{alias}");
    }
    if is_customers_server(event) {
        return format!("relay:{relay}");
    }
    if !event.mail_from.is_empty() {
        return format!("from:{}", event.mail_from);
    }
    match field(&event.h, "From").and_then(address) {
        Some(address) => format!("auth:{address}"),
        None => format!("ip:{}", event.ip),
    }
}

/// True of a server that is one customer's own: it stands for itself, and its address is charged. The others are the
/// provider's and stand for many.
pub(super) fn is_customers_server(event: &Event<'_>) -> bool {
    event.relay.as_ref().is_some_and(|relay| relay.starts_with("vps"))
}

/// The value of the first field of this name, as far as its first line goes.
pub(super) fn field<'a>(header: &'a str, name: &str) -> Option<&'a str> {
    header.split("\r\n").find_map(|line| {
        let (own, value) = line.split_once(':')?;
        own.eq_ignore_ascii_case(name).then(|| value.trim())
    })
}

/// The first address in a field's value.
pub(super) fn address(value: &str) -> Option<&str> {
    value.split(|c: char| c.is_whitespace() || matches!(c, '<' | '>' | ',')).find(|word| {
        word.split_once('@').is_some_and(|(local, domain)| !local.is_empty() && !domain.is_empty())
    })
}
