//! The commands that ask the running gate.

use super::{
    CliError,
    args::{AccountCommand, Gate, TenantCommand, TokenCommand},
    client::{Client, segment},
    links, output,
    table::{Table, shown},
};
use crate::{
    admin::{
        Changes, ClosingView, Explanation, LimitView, PAGE_MAX, Page, PasswordView, PlanSource,
        ReductionView, Release, Remark, StandingView, State, StorageView, SubjectUsage,
        SubjectView, TenantSource, TokenMade, TokenRequest, TokenView, Why,
    },
    rules::limits::Mode,
    types::{AccountId, ClientIp, Timestamp},
};
use hyper::Method;
use serde::Serialize;
use std::{fmt::Write, path::PathBuf};

/// `tollgate account …`
pub(super) fn account(command: AccountCommand, gate: &Gate) -> Result<(), CliError> {
    let remote = Remote::new(gate)?;
    match command {
        AccountCommand::List => remote.list("accounts"),
        AccountCommand::Show { account } => remote.show(&path_of("accounts", account.as_str())),
        AccountCommand::Set { account, changes, own } => {
            let mut changes = changes.changes();
            own.add_to(&mut changes);
            remote.set(&path_of("accounts", account.as_str()), &changes)
        }
        AccountCommand::Suspend { account, reason } => {
            remote.act(&path_of("accounts", account.as_str()), "suspend", &Why { reason })
        }
        AccountCommand::Resume { account, release } => {
            remote.act(&path_of("accounts", account.as_str()), "resume", &Release::from(release))
        }
        AccountCommand::Close { account, reason, undo } => {
            let action = if undo { "stay" } else { "close" };
            let path = format!("{}/{action}", path_of("accounts", account.as_str()));
            let view: ClosingView = remote.client.send(Method::POST, &path, &Why { reason })?;
            remote.print(&view, closing_text)
        }
        AccountCommand::Cancel { account, reason } => {
            remote.act(&path_of("accounts", account.as_str()), "cancel", &Why { reason })
        }
    }
}

/// `tollgate tenant …`
pub(super) fn tenant(command: TenantCommand, gate: &Gate) -> Result<(), CliError> {
    let remote = Remote::new(gate)?;
    match command {
        TenantCommand::List => remote.list("tenants"),
        TenantCommand::Show { tenant } => remote.show(&path_of("tenants", tenant.as_str())),
        TenantCommand::Set { tenant, changes } => {
            remote.set(&path_of("tenants", tenant.as_str()), &changes.changes())
        }
        TenantCommand::Suspend { tenant, reason } => {
            remote.act(&path_of("tenants", tenant.as_str()), "suspend", &Why { reason })
        }
        TenantCommand::Resume { tenant, release } => {
            remote.act(&path_of("tenants", tenant.as_str()), "resume", &Release::from(release))
        }
        TenantCommand::Close { tenant, reason, undo } => {
            let action = if undo { "stay" } else { "close" };
            let path = format!("{}/{action}", path_of("tenants", tenant.as_str()));
            let view: ClosingView = remote.client.send(Method::POST, &path, &Why { reason })?;
            remote.print(&view, closing_text)
        }
        TenantCommand::Cancel { tenant, reason } => {
            remote.act(&path_of("tenants", tenant.as_str()), "cancel", &Why { reason })
        }
    }
}

/// `tollgate usage [ACCOUNT]`
pub(super) fn usage(account: Option<&AccountId>, gate: &Gate) -> Result<(), CliError> {
    let remote = Remote::new(gate)?;
    let Some(account) = account else { return remote.usage_of_all() };
    let path = format!("{}/usage", path_of("accounts", account.as_str()));
    let usage: SubjectUsage = remote.client.read(&path)?;
    remote.print(&usage, |usage| limits_table(&usage.limits, ""))
}

/// `tollgate explain ACCOUNT`
pub(super) fn explain(
    account: &AccountId,
    client: Option<ClientIp>,
    gate: &Gate,
) -> Result<(), CliError> {
    let remote = Remote::new(gate)?;
    let mut path = format!("{}/explain", path_of("accounts", account.as_str()));
    if let Some(client) = client {
        path.push_str("?client=");
        path.push_str(&segment(&client.to_string()));
    }
    let explanation: Explanation = remote.client.read(&path)?;
    remote.print(&explanation, explanation_text)
}

/// `tollgate token …`
pub(super) fn token(command: TokenCommand, gate: &Gate) -> Result<(), CliError> {
    let remote = Remote::new(gate)?;
    match command {
        TokenCommand::Create { name, role, tenant, expires, no_expiry, reason } => {
            let expires = (!no_expiry).then_some(expires);
            let request = TokenRequest { name, role, tenant, expires, reason };
            let made: TokenMade = remote.client.send(Method::POST, "/v1/tokens", &request)?;
            remote.print(&made, |made| format!("{}\n", made.secret))
        }
        TokenCommand::List => {
            let tokens: Vec<TokenView> = remote.client.read("/v1/tokens")?;
            remote.print(&tokens, |tokens| tokens_table(tokens))
        }
        TokenCommand::Revoke { name, reason } => {
            let path = format!("{}/revoke", path_of("tokens", name.as_str()));
            let revoked: TokenView = remote.client.send(Method::POST, &path, &Remark { reason })?;
            remote.print(&revoked, |revoked| format!("token {}: revoked\n", revoked.name))
        }
    }
}

fn tokens_table(tokens: &[TokenView]) -> String {
    let mut table =
        Table::new(&["NAME", "ROLE", "TENANT", "CREATED", "BY", "EXPIRES", "LAST USED"]);
    for token in tokens {
        let expires = match (token.expires, token.expired) {
            (Some(expires), true) => format!("{} (over)", at_text(expires)),
            (Some(expires), false) => at_text(expires),
            (None, _) => String::from("never"),
        };
        table.row([
            token.name.to_string(),
            token.role.to_string(),
            token.tenant.as_ref().map(ToString::to_string).unwrap_or_default(),
            at_text(token.created),
            token.creator.clone(),
            expires,
            token.last_used.map_or_else(|| "never".into(), at_text),
        ]);
    }
    table.render("")
}

fn closing_text(view: &ClosingView) -> String {
    match view.due {
        Some(due) => format!("{}: suspended, erased after {}\n", view.subject, at_text(due)),
        None => format!("{}: stays\n", view.subject),
    }
}

fn path_of(kind: &str, name: &str) -> String {
    format!("/v1/{kind}/{}", segment(name))
}

/// The gate and the form that its answers are shown in.
pub(super) struct Remote {
    pub(super) client: Client,
    pub(super) form: Form,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Form {
    Tables,
    Json,
}

impl Remote {
    pub(super) fn new(gate: &Gate) -> Result<Self, CliError> {
        let form = if gate.json { Form::Json } else { Form::Tables };
        Ok(Self { client: Client::new(socket_of(gate)?)?, form })
    }

    /// The same, for what may take long.
    pub(super) fn patient(gate: &Gate) -> Result<Self, CliError> {
        let Self { client, form } = Self::new(gate)?;
        Ok(Self { client: client.patient(), form })
    }

    fn show(&self, path: &str) -> Result<(), CliError> {
        let view: SubjectView = self.client.read(path)?;
        self.print(&view, subject_text)
    }

    fn set(&self, path: &str, changes: &Changes) -> Result<(), CliError> {
        let view: SubjectView = self.client.send(Method::PATCH, path, changes)?;
        self.print(&view, subject_text)
    }

    fn act(&self, path: &str, action: &str, body: &impl Serialize) -> Result<(), CliError> {
        let path = format!("{path}/{action}");
        let view: SubjectView = self.client.send(Method::POST, &path, body)?;
        self.print(&view, |view| {
            let state = standing_text(&view.state, &view.standing);
            let password = view.password.map_or("", password_text);
            format!("{} {}: {state}{password}\n", view.kind, shown(&view.name))
        })
    }

    fn list(&self, kind: &str) -> Result<(), CliError> {
        self.each_page(kind, |views| match self.form {
            Form::Tables => Ok(list_text(views)),
            Form::Json => json_lines(views),
        })
    }

    fn usage_of_all(&self) -> Result<(), CliError> {
        self.each_page("accounts", |views| match self.form {
            Form::Tables => Ok(usage_text(views)),
            Form::Json => json_lines(&views.iter().map(usage_of).collect::<Vec<_>>()),
        })
    }

    /// Prints a list page by page, so that a million accounts need no more memory than a thousand.
    fn each_page(
        &self,
        kind: &str,
        text: impl Fn(&[SubjectView]) -> Result<String, CliError>,
    ) -> Result<(), CliError> {
        let mut from = String::new();
        loop {
            let page: Page<SubjectView> =
                self.client.read(&format!("/v1/{kind}?max={PAGE_MAX}{from}"))?;
            output::print(&text(&page.items)?);
            let Some(next) = page.next else { return Ok(()) };
            from = format!("&after={}", segment(&next));
        }
    }

    pub(super) fn print<T: Serialize>(
        &self,
        value: &T,
        text: impl FnOnce(&T) -> String,
    ) -> Result<(), CliError> {
        let text = match self.form {
            Form::Tables => text(value),
            Form::Json => serde_json::to_string_pretty(value)
                .map(|text| text + "\n")
                .map_err(|error| unprintable(&error))?,
        };
        output::print(&text);
        Ok(())
    }
}

/// The socket: as given, else as the configuration says, else where the quickstart has it.
fn socket_of(gate: &Gate) -> Result<PathBuf, CliError> {
    match (&gate.socket, &gate.config) {
        (Some(socket), _) => Ok(socket.clone()),
        (None, Some(config)) => links::control_socket(config),
        (None, None) => Ok(SOCKET_DEFAULT.into()),
    }
}

/// One object a line, so that a script can begin before the list ends.
pub(super) fn json_lines(values: &[impl Serialize]) -> Result<String, CliError> {
    let mut text = String::new();
    for value in values {
        let line = serde_json::to_string(value).map_err(|error| unprintable(&error))?;
        text.push_str(&line);
        text.push('\n');
    }
    Ok(text)
}

fn unprintable(error: &serde_json::Error) -> CliError {
    CliError::Failed(format!("print: {error}"))
}

fn usage_of(view: &SubjectView) -> SubjectUsage {
    SubjectUsage { name: view.name.clone(), limits: view.limits.clone() }
}

fn usage_text(views: &[SubjectView]) -> String {
    let limits: Vec<LimitView> = views.iter().flat_map(|view| view.limits.clone()).collect();
    limits_table(&limits, "")
}

fn list_text(views: &[SubjectView]) -> String {
    let mut table = Table::new(&["NAME", "STATE", "PLAN", "TENANT", "FULLEST LIMIT"]);
    for view in views {
        let state = match &view.state {
            State::Active => view.standing.standing.clone(),
            State::Suspended { case, .. } => format!("{} {case}", shut_word(&view.standing)),
        };
        let tenant = view.tenant.as_ref().map(ToString::to_string).unwrap_or_default();
        let fullest = fullest(&view.limits).map(use_text).unwrap_or_default();
        table.row([view.name.clone(), state, view.plan.to_string(), tenant, fullest]);
    }
    table.render("")
}

/// The limit with the greatest share used.
fn fullest(limits: &[LimitView]) -> Option<&LimitView> {
    limits.iter().max_by_key(|limit| u64::from(limit.used) * 1_000 / u64::from(limit.max).max(1))
}

/// `50 of 50 recipients in 1 h`, as in a refusal.
fn use_text(limit: &LimitView) -> String {
    format!("{} of {} {} in {}", limit.used, limit.max, limit.unit, limit.window)
}

fn subject_text(view: &SubjectView) -> String {
    let mut facts = Table::plain();
    facts.row([view.kind.to_string(), view.name.clone()]);
    facts.row(["state".into(), standing_text(&view.state, &view.standing)]);
    if let Some(password) = view.password {
        facts.row(["password".into(), password_text(password).trim_start_matches("; ").into()]);
    }
    if view.standing.breaches > 0 {
        facts.row(["suspended so far".into(), times(view.standing.breaches)]);
    }
    facts.row(["registered".into(), if view.registered { "yes" } else { "no" }.into()]);
    if let Some(tenant) = &view.tenant {
        facts.row(["tenant".into(), tenant.to_string()]);
    }
    facts.row(["plan".into(), format!("{} ({})", view.plan, plan_source_text(view.plan_source))]);
    if !view.senders.is_empty() {
        facts.row(["senders".into(), view.senders.join(" ")]);
    }
    if let Some(contact) = &view.contact {
        facts.row(["contact".into(), contact.to_string()]);
    }
    if let Some(language) = view.language {
        facts.row(["language".into(), language.to_string()]);
    }
    let mut text = facts.render("");
    if !view.overrides.is_empty() {
        let _ = write!(text, "\noverrides\n{}", overrides_table(view));
    }
    let _ = write!(text, "\nlimits\n{}", limits_table(&view.limits, "  "));
    text
}

fn overrides_table(view: &SubjectView) -> String {
    let mut table = Table::new(&["LIMIT", "MAX", "UNTIL", "REASON", "SET BY", "SET AT"]);
    for entry in &view.overrides {
        let record = &entry.record;
        let until = match (record.until, entry.expired) {
            (Some(until), true) => format!("{} (over)", until.to_second_ceiling()),
            (Some(until), false) => until.to_second_ceiling(),
            (None, _) => String::new(),
        };
        table.row([
            format!("{} {} in {}", record.scope, record.unit, record.window),
            record.max.map_or_else(|| "none".into(), |max| max.to_string()),
            until,
            record.reason.clone(),
            record.actor.clone(),
            record.since.to_second_ceiling(),
        ]);
    }
    table.render("  ")
}

fn limits_table(limits: &[LimitView], indent: &str) -> String {
    if limits.is_empty() {
        return format!("{indent}none\n");
    }
    let headings =
        ["SCOPE", "NAME", "UNIT", "WINDOW", "USED", "OPEN", "LIMIT", "LEFT", "NEXT SLOT", "SOURCE"];
    let mut table = Table::new(&headings);
    for limit in limits {
        table.row([
            limit.scope.to_string(),
            limit.name.clone(),
            limit.unit.to_string(),
            limit.window.to_string(),
            limit.used.to_string(),
            limit.open.to_string(),
            limit.max.to_string(),
            limit.remaining.to_string(),
            next_slot_text(limit),
            source_text(limit),
        ]);
    }
    table.render(indent)
}

fn next_slot_text(limit: &LimitView) -> String {
    match (limit.next_slot, limit.max, limit.remaining) {
        (Some(slot), ..) => slot.to_second_ceiling(),
        (None, 0, _) => String::from("never"),
        (None, _, 0) => String::from("unknown"),
        (None, ..) => String::from("now"),
    }
}

fn source_text(limit: &LimitView) -> String {
    let mut text = limit.source.clone();
    if let Some(reason) = &limit.source_reason {
        let _ = write!(text, ": {reason}");
    }
    if let Some(until) = limit.source_until {
        let _ = write!(text, " (until {})", until.to_second_ceiling());
    }
    if let Some(reduced) = &limit.reduced {
        let ReductionView { whole, percent, because, until } = reduced;
        let _ = write!(text, "; {percent} % of {whole} ({because}");
        if let Some(until) = until {
            let _ = write!(text, " until {}", until.to_second_ceiling());
        }
        text.push(')');
    }
    text
}

fn explanation_text(e: &Explanation) -> String {
    let mut facts = Table::plain();
    let known = if e.known { "" } else { " (not registered, has not sent yet)" };
    facts.row(["account".into(), format!("{}{known}", e.account)]);
    facts.row(["state".into(), standing_text(&e.account_state, &e.account_standing)]);
    facts.row(["tenant".into(), format!("{} ({})", e.tenant, tenant_source_text(e.tenant_source))]);
    facts.row(["tenant's state".into(), standing_text(&e.tenant_state, &e.tenant_standing)]);
    facts.row(["plan".into(), plan_text(e)]);
    facts.row(["largest message".into(), format!("{} octets", e.message_bytes_max)]);
    if !e.senders.is_empty() {
        facts.row(["senders".into(), e.senders.join(" ")]);
    }
    for view in &e.storage {
        facts.row([format!("{}'s storage", view.scope), storage_text(view)]);
    }
    facts.row(["last refusal".into(), refusal_text(e)]);
    format!("{}\nlimits at {}\n{}", facts.render(""), at_text(e.at), limits_table(&e.limits, "  "))
}

fn plan_text(e: &Explanation) -> String {
    let mut text = format!("{} ({})", e.plan, plan_source_text(e.plan_source));
    if !e.plan_exists {
        text.push_str("; the configuration has no such plan, the default one holds");
    }
    if e.mode == Mode::Observe {
        text.push_str("; only observed, nothing is refused");
    }
    text
}

fn storage_text(view: &StorageView) -> String {
    if view.used_bytes.is_none() {
        return String::from("not known");
    }
    let refused = if view.is_refused { "; nothing is accepted until there is room" } else { "" };
    format!("{} ({}){refused}", view.in_words(), view.fill.name())
}

fn refusal_text(e: &Explanation) -> String {
    e.last_refusal.as_ref().map_or_else(
        || String::from("none since the gate started"),
        |last| format!("{}: {} ({} in all)", at_text(last.at), last.reply, last.count),
    )
}

/// Whether it may send, and how much of its limits is left to it.
fn standing_text(state: &State, standing: &StandingView) -> String {
    match state {
        State::Active => active_text(standing),
        State::Suspended { case, since, reason, actor, until } => {
            let until = until.map(|until| format!(" until {}", at_text(until)));
            format!(
                "{}, case {case}, since {}{} by {}: {}",
                shut_word(standing),
                at_text(*since),
                until.unwrap_or_default(),
                shown(actor),
                shown(reason)
            )
        }
    }
}

/// A suspension is called so, whether it ends by itself or not; what a person cancelled is called cancelled.
fn shut_word(standing: &StandingView) -> &'static str {
    if standing.standing == "cancelled" { "cancelled" } else { "suspended" }
}

fn active_text(standing: &StandingView) -> String {
    let mut text = standing.standing.clone();
    if standing.observed && !standing.is_plain() {
        text.push_str(" (only observed)");
    }
    if let Some(since) = standing.since.filter(|_| standing.is_flagged()) {
        let _ = write!(text, " since {}", at_text(since));
    }
    if let Some(until) = standing.until {
        let _ = write!(text, " until {}", at_text(until));
    }
    if let Some(until) = standing.probation_until {
        let _ = write!(text, ", on probation until {}", at_text(until));
    }
    if standing.percent < 100 {
        let _ = write!(text, ", limits at {} %", standing.percent);
    }
    text
}

const fn password_text(password: PasswordView) -> &'static str {
    match password {
        PasswordView::Changed => "; the password has changed since the suspension",
        PasswordView::Unchanged => "; the password has not changed since the suspension",
    }
}

fn times(count: u32) -> String {
    if count == 1 { String::from("once") } else { format!("{count} times") }
}

pub(super) fn at_text(at: Timestamp) -> String {
    at.to_second_ceiling()
}

const fn plan_source_text(source: PlanSource) -> &'static str {
    match source {
        PlanSource::Account => "the account's own",
        PlanSource::Tenant => "the tenant's",
        PlanSource::Default => "the default",
    }
}

const fn tenant_source_text(source: TenantSource) -> &'static str {
    match source {
        TenantSource::Record => "assigned",
        TenantSource::Name => "from the account's name",
    }
}

/// Where the quickstart's configuration puts the control socket.
const SOCKET_DEFAULT: &str = "var/control.sock";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        admin::fixture,
        cli::run,
        http::{ControlSocket, serve_control},
    };
    use std::{path::Path, process::ExitCode};

    /// A gate that serves its control socket on a thread of its own until the test ends.
    struct Running {
        folder: tempfile::TempDir,
        _runtime: tokio::runtime::Runtime,
    }

    impl Running {
        fn start() -> Self {
            let folder = tempfile::tempdir().unwrap();
            let runtime = tokio::runtime::Builder::new_multi_thread()
                .worker_threads(1)
                .enable_all()
                .build()
                .unwrap();
            let path = folder.path().join("control.sock");
            runtime.block_on(async {
                let gate = fixture::gate();
                gate.send("a@shop.example", "shop.example", 50).await;
                let socket = ControlSocket::bind(&path).unwrap();
                tokio::spawn(serve_control(socket, gate.admin, std::future::pending()));
            });
            Self { folder, _runtime: runtime }
        }

        fn socket(&self) -> PathBuf {
            self.folder.path().join("control.sock")
        }

        fn client(&self) -> Client {
            Client::new(self.socket()).unwrap()
        }
    }

    fn check_exit(socket: &Path, words: &[&str], expected: u8) {
        let socket = socket.to_str().unwrap();
        let argv = [&["tollgate"], words, &["--socket", socket]].concat();
        let code = run(argv.into_iter().map(Into::into), &|_, _| Ok(()));
        assert_eq!(format!("{code:?}"), format!("{:?}", ExitCode::from(expected)), "{words:?}");
    }

    #[test]
    fn exit_codes_tell_what_happened() {
        let gate = Running::start();
        let socket = gate.socket();
        for (words, expected) in [
            (&["account", "list"][..], 0),
            (&["account", "list", "--json"], 0),
            (&["account", "show", "a@shop.example"], 0),
            (&["account", "set", "a@shop.example", "--plan", "big"], 0),
            (&["account", "set", "a@shop.example", "--plan", "gold"], 1),
            (&["account", "suspend", "a@shop.example", "--reason", "spam"], 0),
            (&["account", "suspend", "a@shop.example", "--reason", "spam"], 1),
            (&["account", "suspend", "a@shop.example"], 2),
            (&["account", "resume", "a@shop.example", "--reason", "ok"], 0),
            (&["tenant", "list"], 0),
            (&["tenant", "show", "shop.example", "--json"], 0),
            (&["usage"], 0),
            (&["usage", "--json"], 0),
            (&["usage", "a@shop.example"], 0),
            (&["explain", "a@shop.example", "--client", "192.0.2.7"], 0),
            (&["explain", "a b"], 2),
            (&["token", "create", "shop", "--role", "tenant", "--tenant", "shop.example"], 0),
            (&["token", "create", "shop", "--role", "read-only"], 1),
            (&["token", "create", "other", "--role", "tenant"], 1),
            (&["token", "create", "other", "--role", "root"], 2),
            (&["token", "list"], 0),
            (&["token", "revoke", "shop", "--reason", "left"], 0),
            (&["token", "revoke", "shop"], 1),
            (&["frobnicate"], 2),
        ] {
            check_exit(&socket, words, expected);
        }
        check_exit(&gate.folder.path().join("nobody.sock"), &["account", "list"], 3);
    }

    #[test]
    fn an_explanation_reads_well() {
        let gate = Running::start();
        let path = "/v1/accounts/a%40shop.example/explain";
        let mut explanation: Explanation = gate.client().read(path).unwrap();
        let slot = "2026-11-22T09:14:07Z".parse().unwrap();
        explanation.at = "2026-11-22T08:50:00Z".parse().unwrap();
        for limit in &mut explanation.limits {
            limit.next_slot = limit.next_slot.map(|_| slot);
        }
        assert_eq!(
            explanation_text(&explanation),
            "account            a@shop.example\n\
             state              active\n\
             tenant             shop.example (from the account's name)\n\
             tenant's state     active\n\
             plan               shared-hosting (the default)\n\
             largest message    104857600 octets\n\
             account's storage  not known\n\
             tenant's storage   not known\n\
             last refusal       none since the gate started\n\
             \n\
             limits at 2026-11-22T08:50:00Z\n\
             \x20 SCOPE    NAME            UNIT        WINDOW  USED  OPEN  LIMIT  LEFT  NEXT SLOT             SOURCE\n\
             \x20 tenant   shop.example    recipients  1 h       50     0     50     0  2026-11-22T09:14:07Z  plan shared-hosting\n\
             \x20 tenant   shop.example    recipients  24 h      50     0    600   550  now                   plan shared-hosting\n\
             \x20 account  a@shop.example  recipients  1 h       50     0     50     0  2026-11-22T09:14:07Z  plan shared-hosting\n\
             \x20 account  a@shop.example  recipients  24 h      50     0    600   550  now                   plan shared-hosting\n"
        );
    }

    #[test]
    fn a_list_shows_the_fullest_limit_and_no_control_characters() {
        let gate = Running::start();
        let page: Page<SubjectView> = gate.client().read("/v1/accounts").unwrap();
        assert_eq!(
            list_text(&page.items),
            "NAME            STATE   PLAN            TENANT        FULLEST LIMIT\n\
             a@shop.example  active  shared-hosting  shop.example  50 of 50 recipients in 1 h\n"
        );
        let mut view = page.items[0].clone();
        view.state = State::Suspended {
            case: "TG-1".parse().unwrap(),
            since: Timestamp::EPOCH,
            reason: "\u{1b}[2J".into(),
            actor: "op".into(),
            until: None,
        };
        assert!(!subject_text(&view).contains('\u{1b}'));
    }
}
