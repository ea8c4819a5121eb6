//! The command line as clap reads it; every text here is what `--help` shows.

use crate::{
    admin::{Changes, LimitSpec, LimitTarget, Patch, Release, Since, Sought, Until},
    config::Moves,
    rules::blocklist::Subject as BlocklistSubject,
    store::archive::audit::chain::Head,
    types::{
        AccountId, Address, CaseId, ClientIp, Language, MessageId, Month, PlanName, Role, TenantId,
        TokenName, TransactionId,
    },
};
use clap::{Parser, Subcommand};
use std::{
    net::{IpAddr, SocketAddr},
    path::PathBuf,
};

/// An outbound SMTP proxy that never lets a customer send more than the plan allows.
#[derive(Debug, Parser)]
#[command(name = "tollgate", version, after_help = EXIT_CODES)]
pub(super) struct Args {
    #[command(subcommand)]
    pub(super) command: Command,
}

const EXIT_CODES: &str = "Exit codes: 0 it worked, 1 it failed, 2 the command line is wrong, 3 the gate cannot be reached.";

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Run the gate
    Serve(Serve),
    /// Read a configuration and say what is wrong with it, or that nothing is
    CheckConfig(CheckConfig),
    /// Show and change accounts
    Account {
        #[command(subcommand)]
        command: AccountCommand,
        #[command(flatten)]
        gate: Gate,
    },
    /// Show and change tenants
    Tenant {
        #[command(subcommand)]
        command: TenantCommand,
        #[command(flatten)]
        gate: Gate,
    },
    /// Show what was used of the limits, of one account or of all
    Usage {
        /// The account; all if left out
        account: Option<AccountId>,
        #[command(flatten)]
        gate: Gate,
    },
    /// Show all that decides about an account's next message, and why
    Explain {
        /// The account
        account: AccountId,
        /// Also the limits of this client address
        #[arg(long, value_name = "IP")]
        client: Option<ClientIp>,
        #[command(flatten)]
        gate: Gate,
    },
    /// Show alerts, or try whether they arrive
    Alert {
        #[command(subcommand)]
        command: AlertCommand,
        #[command(flatten)]
        gate: Gate,
    },
    /// Make a backup of the limits' store and the archive, while the gate runs or when it has stopped
    Backup {
        #[command(flatten)]
        wanted: BackupArgs,
        #[command(flatten)]
        gate: Gate,
    },
    /// Put a backup in the place of files that are not there; the gate must not run
    Restore {
        #[command(flatten)]
        wanted: RestoreArgs,
        #[command(flatten)]
        gate: Gate,
    },
    /// Move what was sent, and the records, between the gate's own database and the Redis of its configuration; the gate must not run
    Migrate {
        #[command(flatten)]
        wanted: MigrateArgs,
        #[command(flatten)]
        gate: Gate,
    },
    /// Hand out, erase and hold what is stored about somebody
    Privacy {
        #[command(subcommand)]
        command: PrivacyCommand,
        #[command(flatten)]
        gate: Gate,
    },
    /// Show what spoke against the accounts of a tenant, and whether it should be cancelled
    Offences {
        /// The tenant
        tenant: TenantId,
        /// That this offence was a mistake; it counts no more
        #[arg(long, value_name = "NUMBER", requires = "reason")]
        withdraw: Option<i64>,
        /// Why it was a mistake
        #[arg(long)]
        reason: Option<String>,
        #[command(flatten)]
        gate: Gate,
    },
    /// Show how much of a month mail could flow, beside what was promised
    Availability {
        /// The month, such as 2026-11; the present one if left out
        #[arg(long)]
        month: Option<Month>,
        #[command(flatten)]
        gate: Gate,
    },
    /// Plan maintenance, which does not count as an outage
    Maintenance {
        #[command(subcommand)]
        command: MaintenanceCommand,
        #[command(flatten)]
        gate: Gate,
    },
    /// Show what of ours is on blocklists, or ask them
    Blocklist {
        #[command(subcommand)]
        command: BlocklistCommand,
        #[command(flatten)]
        gate: Gate,
    },
    /// Show how full mailboxes are
    Storage {
        #[command(subcommand)]
        command: StorageCommand,
        #[command(flatten)]
        gate: Gate,
    },
    /// Make, list and revoke tokens for the API and the dashboard
    Token {
        #[command(subcommand)]
        command: TokenCommand,
        #[command(flatten)]
        gate: Gate,
    },
    /// Show the audit: every change and automatic decision, the oldest of those shown first
    Audit {
        #[command(subcommand)]
        command: Option<AuditCommand>,
        #[command(flatten)]
        wanted: AuditArgs,
        #[command(flatten)]
        gate: Gate,
    },
    /// Report what tenants used in a period
    Report {
        #[command(flatten)]
        wanted: ReportArgs,
        #[command(flatten)]
        gate: Gate,
    },
    /// Show what happened to messages, the oldest of those shown first
    Trace {
        /// A session's or transaction's id, a Message-ID, an account or a recipient
        of: Sought,
        /// Only from then on: 2026-11-22T09:14:07Z, or 7d for the last seven days
        #[arg(long, value_name = "TIME")]
        since: Option<Since>,
        /// Only what happened before
        #[arg(long, value_name = "TIME")]
        until: Option<Since>,
        /// How many, the newest of them
        #[arg(long, value_name = "N", default_value_t = 50)]
        max: usize,
        #[command(flatten)]
        gate: Gate,
    },
    /// Take in and show complaints about mail
    Complaint {
        #[command(subcommand)]
        command: ComplaintCommand,
        #[command(flatten)]
        gate: Gate,
    },
    /// Look up what a suspension rests on
    Case {
        #[command(subcommand)]
        command: CaseCommand,
        #[command(flatten)]
        gate: Gate,
    },
    /// Decide about client addresses
    Client {
        #[command(subcommand)]
        command: ClientCommand,
        #[command(flatten)]
        gate: Gate,
    },
    /// Show or close the breaker, which stops a wave of suspensions
    Breaker {
        #[command(subcommand)]
        command: BreakerCommand,
        #[command(flatten)]
        gate: Gate,
    },
    /// Replay mail of the past against the rules, and say what they would have done
    Simulate(Simulate),
    /// Print or store the password of a login
    Passwd(Passwd),
}

#[derive(Debug, Subcommand)]
pub(super) enum StorageCommand {
    /// Show how full the mailbox of an account is and was, or all of a tenant's together
    Show {
        /// The account, which has an @, or the tenant
        name: String,
    },
    /// List mailboxes and tenants, the fullest first
    List {
        /// Only this tenant's
        #[arg(long)]
        tenant: Option<TenantId>,
        /// How many
        #[arg(long, value_name = "N", default_value_t = 50)]
        max: usize,
    },
    /// Look at the mailbox of an account now, or at all of a tenant's
    Scan {
        /// The account, which has an @, or the tenant
        name: String,
    },
}

/// What is replayed, against what.
#[derive(Debug, clap::Args)]
pub(super) struct Simulate {
    /// The folder of the trace: events, chunks, lists
    #[arg(long, value_name = "DIR")]
    pub(super) trace: PathBuf,
    /// Write the decisions here, gzipped, one JSON object a line
    #[arg(long, value_name = "FILE")]
    pub(super) out: PathBuf,
    /// Take limits and thresholds from this configuration; the default ones if left out
    #[arg(long, value_name = "FILE")]
    pub(super) config: Option<PathBuf>,
}

/// Which report, and how it is shown.
#[derive(Debug, clap::Args)]
#[command(group(clap::ArgGroup::new("whose").required(true).args(["tenant", "all"])))]
pub(super) struct ReportArgs {
    /// One tenant
    #[arg(long)]
    pub(super) tenant: Option<TenantId>,
    /// All tenants, also those that sent nothing
    #[arg(long)]
    pub(super) all: bool,
    /// The time: 2026-10, 2026-W40, 2026-10-01..2026-10-31, today, last-week, last-month, last-30-days
    #[arg(long, default_value = "last-month")]
    pub(super) period: String,
    /// How it is shown: html is a page for one tenant
    #[arg(long, value_enum, default_value = "table")]
    pub(super) format: ReportFormat,
}

/// How a report is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(super) enum ReportFormat {
    Table,
    Csv,
    Json,
    Html,
}

/// Where the configuration is, and what is moved for this run.
#[derive(Debug, clap::Args)]
pub(super) struct Serve {
    /// The configuration file
    #[arg(long, value_name = "FILE", env = "TOLLGATE_CONFIG")]
    pub(super) config: PathBuf,
    #[command(flatten)]
    pub(super) moves: MovesArgs,
}

#[derive(Debug, clap::Args)]
pub(super) struct MovesArgs {
    /// Keep all state in this folder
    #[arg(long, value_name = "DIR", env = "TOLLGATE_STATE_DIR")]
    state_dir: Option<PathBuf>,
    /// Listen here for /metrics and /health
    #[arg(long, value_name = "ADDR", env = "TOLLGATE_HTTP_LISTEN")]
    http_listen: Option<SocketAddr>,
    /// Listen here for the API and the dashboard
    #[arg(long, value_name = "ADDR", env = "TOLLGATE_API_LISTEN")]
    api_listen: Option<SocketAddr>,
    /// Listen here for the smarthost listener
    #[arg(long, value_name = "ADDR", env = "TOLLGATE_SMARTHOST_LISTEN")]
    smarthost_listen: Option<SocketAddr>,
    /// Listen here for the submission listener
    #[arg(long, value_name = "ADDR", env = "TOLLGATE_SUBMISSION_LISTEN")]
    submission_listen: Option<SocketAddr>,
    /// Deliver into this folder
    #[arg(long, value_name = "DIR", env = "TOLLGATE_OUTBOX")]
    outbox: Option<PathBuf>,
}

impl From<MovesArgs> for Moves {
    fn from(args: MovesArgs) -> Self {
        Self {
            state_dir: args.state_dir,
            http_listen: args.http_listen,
            api_listen: args.api_listen,
            smarthost_listen: args.smarthost_listen,
            submission_listen: args.submission_listen,
            outbox: args.outbox,
        }
    }
}

#[derive(Debug, clap::Args)]
pub(super) struct CheckConfig {
    /// The configuration file
    #[arg(long, value_name = "FILE", env = "TOLLGATE_CONFIG")]
    pub(super) config: PathBuf,
}

/// Which running gate is asked, and in what form it is shown.
#[derive(Debug, Clone, clap::Args)]
pub(super) struct Gate {
    /// The control socket of the running gate [default: var/control.sock, or as --config says]
    #[arg(long, value_name = "PATH", env = "TOLLGATE_SOCKET", global = true)]
    pub(super) socket: Option<PathBuf>,
    /// Read the control socket's place from this configuration
    #[arg(long, value_name = "FILE", env = "TOLLGATE_CONFIG", global = true)]
    pub(super) config: Option<PathBuf>,
    /// Print JSON
    #[arg(long, global = true)]
    pub(super) json: bool,
}

#[derive(Debug, Subcommand)]
pub(super) enum AccountCommand {
    /// List all accounts that are registered or have sent
    List,
    /// Show one account
    Show {
        /// The account
        account: AccountId,
    },
    /// Register an account, or change its plan, tenant, senders or limits
    Set {
        /// The account
        account: AccountId,
        #[command(flatten)]
        changes: SetArgs,
        #[command(flatten)]
        own: SetAccountArgs,
    },
    /// Refuse all mail of an account
    Suspend {
        /// The account
        account: AccountId,
        /// Why; it is kept and shown
        #[arg(long)]
        reason: String,
    },
    /// Lift a suspension, or whatever else the standing is; limits stay reduced for a time of probation
    Resume {
        /// The account
        account: AccountId,
        #[command(flatten)]
        release: ReleaseArgs,
    },
    /// Cancel: a suspension that is meant to stay
    Cancel {
        /// The account
        account: AccountId,
        /// Why; it is kept and shown
        #[arg(long)]
        reason: String,
    },
    /// Let an account leave: suspended now, and erased after privacy.keep_closed
    Close {
        /// The account
        account: AccountId,
        /// Why; it is kept and shown
        #[arg(long)]
        reason: String,
        /// It stays after all: nothing is erased; lift the suspension with "resume"
        #[arg(long)]
        undo: bool,
    },
}

#[derive(Debug, Subcommand)]
pub(super) enum TenantCommand {
    /// List all tenants that are registered or have sent
    List,
    /// Show one tenant
    Show {
        /// The tenant
        tenant: TenantId,
    },
    /// Register a tenant, or change its plan or limits
    Set {
        /// The tenant
        tenant: TenantId,
        #[command(flatten)]
        changes: SetArgs,
    },
    /// Refuse all mail of a tenant's accounts
    Suspend {
        /// The tenant
        tenant: TenantId,
        /// Why; it is kept and shown
        #[arg(long)]
        reason: String,
    },
    /// Lift a suspension, or whatever else the standing is; limits stay reduced for a time of probation
    Resume {
        /// The tenant
        tenant: TenantId,
        #[command(flatten)]
        release: ReleaseArgs,
    },
    /// Cancel: a suspension that is meant to stay
    Cancel {
        /// The tenant
        tenant: TenantId,
        /// Why; it is kept and shown
        #[arg(long)]
        reason: String,
    },
    /// Let a tenant with its accounts leave: suspended now, and erased after privacy.keep_closed
    Close {
        /// The tenant
        tenant: TenantId,
        /// Why; it is kept and shown
        #[arg(long)]
        reason: String,
        /// It stays after all: nothing is erased; lift the suspension with "resume"
        #[arg(long)]
        undo: bool,
    },
}

/// How a suspension is lifted.
#[derive(Debug, clap::Args)]
pub(super) struct ReleaseArgs {
    /// Why; it is kept and shown
    #[arg(long)]
    reason: String,
    /// Limits are whole again at once
    #[arg(long)]
    no_probation: bool,
    /// Also if the password is still the one of then, where the configuration wants another
    #[arg(long)]
    password_unchanged: bool,
}

impl From<ReleaseArgs> for Release {
    fn from(args: ReleaseArgs) -> Self {
        let ReleaseArgs { reason, no_probation, password_unchanged } = args;
        Self { reason, no_probation, password_unchanged }
    }
}

#[derive(Debug, Subcommand)]
pub(super) enum CaseCommand {
    /// Show what a suspension rests on, whether it lasts or is over
    Show {
        /// The case, as the sender heard it: TG-7K3M-92QX
        case: CaseId,
    },
}

#[derive(Debug, Subcommand)]
pub(super) enum ClientCommand {
    /// Forget what suspended accounts hold against a client address
    Forgive {
        /// The address
        address: ClientIp,
        /// Why; it is kept
        #[arg(long)]
        reason: String,
    },
}

#[derive(Debug, Subcommand)]
pub(super) enum BreakerCommand {
    /// Show whether rules may suspend
    Show,
    /// Let rules suspend again
    Close {
        /// Why; it is kept
        #[arg(long)]
        reason: String,
    },
}

#[derive(Debug, Subcommand)]
pub(super) enum BlocklistCommand {
    /// Show each address and domain on each list, which lists can be believed, and their terms
    Status,
    /// Ask all lists about an address or domain now, watched or not
    Check {
        /// The address or domain
        subject: BlocklistSubject,
    },
    /// Show the addresses that next hops stand for, and whether mail leaves by them
    Egress,
    /// Let no mail leave by an address until that is taken back
    Pause {
        /// The address
        address: IpAddr,
        /// Why; it is kept and shown
        #[arg(long)]
        reason: String,
    },
    /// Let mail leave by an address although it is listed or was paused, until it is on no list any more
    Resume {
        /// The address
        address: IpAddr,
        /// Why; it is kept and shown
        #[arg(long)]
        reason: String,
    },
}

#[derive(Debug, Subcommand)]
pub(super) enum MaintenanceCommand {
    /// List what goes on and what is planned
    List,
    /// Begin now
    Start {
        /// Until when: 2026-12-01T00:00:00Z, or 2h from now; until it is ended, but a day at most, if left out
        #[arg(long)]
        until: Option<Until>,
        /// Why; it is kept and shown
        #[arg(long)]
        reason: String,
    },
    /// Plan it for later
    Plan {
        /// From when: 2026-12-01T00:00:00Z, or 2h from now
        #[arg(long)]
        from: Until,
        /// Until when: 2026-12-01T02:00:00Z, or 4h from now
        #[arg(long)]
        until: Until,
        /// Why; it is kept and shown
        #[arg(long)]
        reason: String,
    },
    /// End what goes on, or take back what is planned
    End {
        /// Its number; all that goes on if left out
        id: Option<i64>,
        /// Why; it is kept and shown
        #[arg(long)]
        reason: String,
    },
}

#[derive(Debug, Subcommand)]
pub(super) enum TokenCommand {
    /// Make a token and print it: the only time that it is shown
    Create {
        /// Its name; changes made with it are recorded under it
        name: TokenName,
        /// operator: sees and changes everything; read-only: sees everything; tenant: sees one tenant
        #[arg(long)]
        role: Role,
        /// The tenant that it sees, with --role tenant
        #[arg(long)]
        tenant: Option<TenantId>,
        /// When it ends by itself: 2027-12-01T00:00:00Z, or 90d from now
        #[arg(long, default_value = "365d")]
        expires: Until,
        /// It never ends by itself
        #[arg(long, conflicts_with = "expires")]
        no_expiry: bool,
        /// Why; it is kept
        #[arg(long)]
        reason: Option<String>,
    },
    /// List all tokens; not their secrets
    List,
    /// Take a token back: it opens nothing from the next request on
    Revoke {
        /// Its name
        name: TokenName,
        /// Why; it is kept
        #[arg(long)]
        reason: Option<String>,
    },
}

#[derive(Debug, Subcommand)]
pub(super) enum ComplaintCommand {
    /// Take in a complaint, or a report of abuse (RFC 5965)
    Add(Box<ComplaintArgs>),
    /// Show complaints, the oldest first
    List {
        /// Only about this account
        #[arg(long)]
        account: Option<AccountId>,
        /// Only about this tenant's accounts
        #[arg(long)]
        tenant: Option<TenantId>,
        /// Only those that are about nobody who is known
        #[arg(long)]
        unattributed: bool,
        /// Only from then on: 2026-11-22T09:14:07Z, or 7d for the last seven days
        #[arg(long, value_name = "TIME")]
        since: Option<Since>,
    },
}

/// What a complaint says.
#[derive(Debug, clap::Args)]
pub(super) struct ComplaintArgs {
    /// Read a report of abuse from this file, or from standard input if it is "-"
    #[arg(long, value_name = "FILE")]
    pub(super) report: Option<PathBuf>,
    /// abuse (the default), fraud, virus, not-spam or other
    #[arg(long, conflicts_with = "report")]
    pub(super) kind: Option<String>,
    /// Our id of the transaction
    #[arg(long, conflicts_with = "report")]
    pub(super) id: Option<TransactionId>,
    /// The message's own id
    #[arg(long, conflicts_with = "report")]
    pub(super) message_id: Option<MessageId>,
    /// The account, where no message is known
    #[arg(long, conflicts_with = "report")]
    pub(super) account: Option<AccountId>,
    /// Who complains
    #[arg(long, value_name = "ADDRESS", conflicts_with = "report")]
    pub(super) recipient: Option<Address>,
    /// When the message came to them: 2026-11-22T09:14:07Z, or 2h for two hours ago
    #[arg(long, value_name = "TIME", conflicts_with = "report")]
    pub(super) arrived: Option<Since>,
    /// What is to be remembered of it
    #[arg(long, conflicts_with = "report")]
    pub(super) note: Option<String>,
}

#[derive(Debug, Subcommand)]
pub(super) enum PrivacyCommand {
    /// Write all that is stored about an account or a tenant to a file, as JSON
    Export {
        #[command(flatten)]
        whom: Whom,
        /// The file; it must not be there
        file: PathBuf,
        /// Why, such as the date of the request
        #[arg(long)]
        reason: String,
    },
    /// Erase an account: all that names it goes; windows and a suspension stay under a keyed hash until they are over
    Erase {
        /// The account
        account: AccountId,
        /// Why; it is kept, so it must not name the account
        #[arg(long)]
        reason: String,
        /// That it is meant: it cannot be taken back
        #[arg(long)]
        yes: bool,
    },
    /// Place a legal hold: nothing is erased until it is released
    Hold {
        #[command(flatten)]
        whom: Whom,
        /// Why
        #[arg(long)]
        reason: String,
    },
    /// Release a legal hold
    Release {
        #[command(flatten)]
        whom: Whom,
        /// Why
        #[arg(long)]
        reason: String,
    },
    /// List legal holds
    Holds,
    /// Write what is stored of a period to a file, for an authority; the audit has what was handed out to whom
    Disclose {
        #[command(flatten)]
        whom: Whom,
        /// The file; it must not be there
        file: PathBuf,
        /// Which authority
        #[arg(long)]
        authority: String,
        /// The reference of its order
        #[arg(long)]
        reference: String,
        /// Who releases it
        #[arg(long, value_name = "NAME")]
        released_by: String,
        /// From then on
        #[arg(long, value_name = "TIME")]
        since: Since,
        /// Until before then
        #[arg(long, value_name = "TIME")]
        until: Since,
        /// On what ground
        #[arg(long)]
        reason: String,
    },
}

/// An account or a tenant.
#[derive(Debug, clap::Args)]
pub(super) struct Whom {
    /// The account, or with --tenant the tenant
    pub(super) name: String,
    /// It is a tenant
    #[arg(long)]
    pub(super) tenant: bool,
}

#[derive(Debug, clap::Args)]
pub(super) struct BackupArgs {
    /// Where to; a file in the folder for backups if left out
    pub(super) file: Option<PathBuf>,
    /// List the backups that are kept, and make none
    #[arg(long, conflicts_with_all = ["file", "last", "reason"])]
    pub(super) list: bool,
    /// The gate has stopped and another goes on from this backup: none starts on these files again
    #[arg(long)]
    pub(super) last: bool,
    /// Why; it is kept and shown
    #[arg(long)]
    pub(super) reason: Option<String>,
}

#[derive(Debug, clap::Args)]
pub(super) struct MigrateArgs {
    /// From where
    #[arg(long, value_enum)]
    pub(super) from: Place,
    /// To where
    #[arg(long, value_enum)]
    pub(super) to: Place,
    /// Add to Redis once more what this gate moved there before, so that it counts twice
    #[arg(long)]
    pub(super) again: bool,
    /// Why; it is kept and shown
    #[arg(long)]
    pub(super) reason: Option<String>,
}

/// Where windows and records are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(super) enum Place {
    /// `store.path`, the gate's own database
    Sqlite,
    /// `store.redis`
    Redis,
}

#[derive(Debug, clap::Args)]
pub(super) struct RestoreArgs {
    /// The backup
    pub(super) file: PathBuf,
    /// What is thought of the time since the backup: "full": anything may have been sent, so every window is full until that has
    /// left it; "ignore": the windows of then, so that up to twice a limit may go out. Default: full; nothing was sent after a last
    /// backup, so that none is thought of then
    #[arg(long, value_enum)]
    pub(super) gap: Option<Gap>,
    /// A list of accounts that were erased after the backup, such as the "erasures" of a newer one; may be given several times
    #[arg(long, value_name = "FILE")]
    pub(super) erasures: Vec<PathBuf>,
    /// Why; it is kept and shown, and needed to ignore the gap
    #[arg(long)]
    pub(super) reason: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(super) enum Gap {
    Full,
    Ignore,
}

#[derive(Debug, Subcommand)]
pub(super) enum AuditCommand {
    /// Follow the whole audit, and name the first entry that was changed, removed, moved or added
    Verify {
        /// Where the audit once ended, as "audit head" printed it then
        #[arg(long, value_name = "NUMBER:HASH")]
        head: Option<Head>,
        /// Look at this file, an archive or a backup, and ask no gate; a backup's archive is laid beside it meanwhile
        #[arg(long, value_name = "FILE")]
        file: Option<PathBuf>,
    },
    /// Print where the audit ends, to be kept on another host
    Head,
}

/// Which entries of the audit.
#[derive(Debug, clap::Args)]
pub(super) struct AuditArgs {
    /// Only what was done to this account, or to this tenant and its accounts
    #[arg(long, value_name = "NAME")]
    pub(super) subject: Option<String>,
    /// Only what was done so, such as "suspended"; docs/audit.md lists the words
    #[arg(long)]
    pub(super) action: Option<String>,
    /// Only from then on: 2026-11-22T09:14:07Z, or 7d for the last seven days
    #[arg(long, value_name = "TIME")]
    pub(super) since: Option<Since>,
    /// Only what was done before
    #[arg(long, value_name = "TIME")]
    pub(super) until: Option<Since>,
    /// How many, the newest of them
    #[arg(long, value_name = "N", default_value_t = 50, conflicts_with = "all")]
    pub(super) max: usize,
    /// All of them
    #[arg(long)]
    pub(super) all: bool,
}

#[derive(Debug, Subcommand)]
pub(super) enum AlertCommand {
    /// List alerts that last, the newest first
    List {
        /// Those that are over, too
        #[arg(long)]
        all: bool,
        /// Only matters of this tenant
        #[arg(long)]
        tenant: Option<TenantId>,
        /// How many, at most 500
        #[arg(long, value_name = "N", default_value_t = 100)]
        max: u32,
    },
    /// Send a test to each receiver and say what became of it
    Test,
}

/// What can be set for accounts and tenants alike.
#[derive(Debug, clap::Args)]
pub(super) struct SetArgs {
    /// The plan
    #[arg(long, conflicts_with = "no_plan")]
    plan: Option<PlanName>,
    /// No plan of its own
    #[arg(long)]
    no_plan: bool,
    /// Where notices and reports go
    #[arg(long, value_name = "ADDRESS", conflicts_with = "no_contact")]
    contact: Option<Address>,
    /// No notices and reports
    #[arg(long)]
    no_contact: bool,
    /// The language of notices and reports: en or id
    #[arg(long, conflicts_with = "no_language")]
    language: Option<Language>,
    /// The default language, English
    #[arg(long)]
    no_language: bool,
    /// Override a limit, such as "account recipients 1h=200", or "…=none"; may be given several times
    #[arg(long = "limit", value_name = "LIMIT", requires = "reason")]
    limits: Vec<LimitSpec>,
    /// Take an override away, such as "account recipients 1h"
    #[arg(long = "clear-limit", value_name = "LIMIT", requires = "reason")]
    clear_limits: Vec<LimitTarget>,
    /// Until when the overrides hold: 2026-12-01T00:00:00Z, or 7d from now
    #[arg(long, requires = "limits")]
    until: Option<Until>,
    /// Why; needed for overrides, kept and shown
    #[arg(long)]
    reason: Option<String>,
}

impl SetArgs {
    pub(super) fn changes(self) -> Changes {
        Changes {
            plan: patch(self.plan, self.no_plan.then_some(())),
            limits: self.limits,
            clear_limits: self.clear_limits,
            until: self.until,
            reason: self.reason,
            contact: patch(self.contact, self.no_contact.then_some(())),
            language: patch(self.language, self.no_language.then_some(())),
            ..Changes::default()
        }
    }
}

/// What can be set for accounts only.
#[derive(Debug, clap::Args)]
pub(super) struct SetAccountArgs {
    /// The tenant that owns the account
    #[arg(long, conflicts_with = "no_tenant")]
    tenant: Option<TenantId>,
    /// The tenant follows from the account's name
    #[arg(long)]
    no_tenant: bool,
    /// Envelope senders that the account may use beyond its own name: user@domain.example or @domain.example, apart by commas
    #[arg(long, value_delimiter = ',', value_name = "SENDER", conflicts_with = "no_senders")]
    senders: Option<Vec<String>>,
    /// No further envelope senders
    #[arg(long)]
    no_senders: bool,
}

impl SetAccountArgs {
    pub(super) fn add_to(self, changes: &mut Changes) {
        changes.tenant = patch(self.tenant, self.no_tenant.then_some(()));
        changes.senders = patch(self.senders, self.no_senders.then_some(()));
    }
}

fn patch<T>(value: Option<T>, clear: Option<()>) -> Patch<T> {
    match (value, clear) {
        (Some(value), _) => Patch::Set(value),
        (None, Some(())) => Patch::Clear,
        (None, None) => Patch::Keep,
    }
}

/// The password comes from the terminal (twice), or as one line from standard input.
#[derive(Debug, clap::Args)]
pub(super) struct Passwd {
    /// The login
    pub(super) user: AccountId,
    /// Put the line into this passwd-file; without it the line is printed
    #[arg(long, value_name = "FILE")]
    pub(super) file: Option<PathBuf>,
    /// How the password is hashed: argon2id, blf-crypt, sha512-crypt, sha256-crypt or scram-sha-256
    #[arg(long, default_value = "argon2id")]
    pub(super) scheme: String,
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_sound() {
        Args::command().debug_assert();
    }

    fn changes_of(options: &[&str]) -> Result<Changes, clap::Error> {
        let words = ["tollgate", "account", "set", "a@shop.example"];
        let args = Args::try_parse_from(words.iter().chain(options))?;
        let Command::Account { command: AccountCommand::Set { changes, own, .. }, .. } =
            args.command
        else {
            panic!("not 'account set'")
        };
        let mut changes = changes.changes();
        own.add_to(&mut changes);
        Ok(changes)
    }

    #[test]
    fn options_become_changes() {
        let changes = changes_of(&[
            "--no-plan",
            "--tenant",
            "shop",
            "--senders",
            "@shop.example,b@x.example",
            "--limit",
            "account recipients 1h=200",
            "--until",
            "7d",
            "--reason",
            "sale",
        ])
        .unwrap();
        assert_eq!(changes.plan, Patch::Clear);
        assert_eq!(changes.tenant, Patch::Set("shop".parse().unwrap()));
        assert_eq!(changes.senders, Patch::Set(vec!["@shop.example".into(), "b@x.example".into()]));
        assert_eq!(changes.limits, ["account recipients 1h=200".parse().unwrap()]);
        assert_eq!(changes_of(&[]).unwrap(), Changes::default());
    }

    #[test]
    fn wrong_options_are_told() {
        for (options, text) in [
            (&["--limit", "account recipients 1h=200"][..], "--reason"),
            (&["--limit", "all=5", "--reason", "x"], "a limit such as"),
            (&["--plan", "x", "--no-plan"], "cannot be used with"),
            (&["--until", "7d", "--reason", "x"], "--limit"),
        ] {
            let error = changes_of(options).unwrap_err().to_string();
            assert!(error.contains(text), "{options:?}: {error}");
        }
    }
}
