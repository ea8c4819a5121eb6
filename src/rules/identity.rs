//! Who is charged, and why that is believed: the trust table and each listener's ordered list of evidence.
//!
//! The listener's list is walked from the top; the first kind of evidence that is present, and that its source is
//! entitled to give, names the account. Evidence that stands in the message's header is known only after the end of
//! DATA, so a decision at MAIL may be to wait for it. An identity field that is ambiguous ends the walk: the trusted
//! server itself is charged, because whoever doubled the field must not choose what counts instead. What anyone can
//! write (MAIL FROM, an address) names an account only for a trusted server, and the server is charged with it.
//!
//! Nothing here relays for a stranger: without a login and without a row that grants `relay` to the client's address
//! the answer is [`AtMail::NotRelaying`], whatever the list says. Accounts of server scripts are written
//! `1042@web01`; names of rows have no dot, so no mail address that can be delivered is such an account.

use super::limits::ScopedLimit;
use crate::{
    event::Evidence,
    message::{Found, HeaderEvidence},
    smtp::MailAuth,
    types::{
        AccountId, ClientCertificate, ClientIp, Domain, Fingerprint, IpPrefix, PeerName,
        ReversePath, TenantId,
    },
};
use std::{net::IpAddr, sync::Arc};

/// One row of the trust table: what a server may say about its clients.
#[derive(Debug, Clone)]
#[expect(clippy::struct_excessive_bools, reason = "each is a right of its own")]
pub struct TrustRow {
    /// Its name; its own limit account is `peer:NAME`.
    pub name: PeerName,
    /// The TCP peers that it is; none: any, for a row that is bound to a login.
    pub networks: Vec<ipnet::IpNet>,
    /// If set, the row holds only after this login was authenticated on the connection.
    pub login: Option<AccountId>,
    /// If set, the row holds only where the certificate or the key with this fingerprint was shown.
    pub certificate: Option<Fingerprint>,
    /// If set, the row holds only where a certificate with this host name was shown, for which an authority of ours vouches.
    pub certificate_name: Option<Domain>,
    /// May relay without further evidence than its address.
    pub relay: bool,
    /// May say XCLIENT.
    pub xclient: bool,
    /// May say XFORWARD.
    pub xforward: bool,
    /// Must and may send a PROXY header on listeners with `proxy_protocol`.
    pub proxy: bool,
    /// Its `MAIL FROM:<…> AUTH=` is believed.
    pub mail_auth: bool,
    /// Which header evidence of its messages is believed.
    pub identity_headers: Vec<Evidence>,
    /// Its own limits ([`crate::types::Scope::Peer`]).
    pub limits: Vec<ScopedLimit>,
    /// True for the provider's own servers, which are not charged as client addresses.
    pub own_server: bool,
}

/// The rows in their order; the first that matches counts.
#[derive(Debug, Clone, Copy)]
pub struct TrustTable<'a>(&'a [Arc<TrustRow>]);

impl<'a> TrustTable<'a> {
    /// Looks at these rows.
    #[must_use]
    pub const fn new(rows: &'a [Arc<TrustRow>]) -> Self {
        Self(rows)
    }

    /// The first row that holds for an address on a connection that has shown this.
    #[must_use]
    pub fn row_for(self, peer: IpAddr, shown: Shown<'_>) -> Option<&'a Arc<TrustRow>> {
        // Only the IPv4-mapped form stands for an IPv4 address here: a NAT64 address is somebody else's to choose.
        let peer = peer.to_canonical();
        self.0.iter().find(|row| row.holds_for(peer, shown))
    }

    /// True if a client address is charged: it is not one of the provider's own servers.
    #[must_use]
    pub fn charges_client(self, client: ClientIp) -> bool {
        self.row_for(client.address(), Shown::default()).is_none_or(|row| !row.own_server)
    }
}

/// What a connection has shown of who it is, beside its address.
#[derive(Debug, Clone, Copy, Default)]
pub struct Shown<'a> {
    /// The login that was authenticated.
    pub login: Option<&'a AccountId>,
    /// The certificate whose key it holds.
    pub certificate: Option<&'a ClientCertificate>,
}

impl TrustRow {
    fn holds_for(&self, peer: IpAddr, shown: Shown<'_>) -> bool {
        let login_holds = self.login.is_none() || self.login.as_ref() == shown.login;
        let certified =
            |holds: &dyn Fn(&ClientCertificate) -> bool| shown.certificate.is_some_and(holds);
        let certificate_holds = self.certificate.is_none_or(|wanted| certified(&|c| c.has(wanted)))
            && self.certificate_name.as_ref().is_none_or(|name| certified(&|c| c.is_named(name)));
        let anywhere = self.networks.is_empty() && !self.holds_by_address();
        let address_holds = anywhere || self.networks.iter().any(|n| n.contains(&peer));
        login_holds && certificate_holds && address_holds
    }

    /// True if nothing but the address makes the row hold.
    #[must_use]
    pub const fn holds_by_address(&self) -> bool {
        self.login.is_none() && !self.wants_certificate()
    }

    /// True if a certificate must be shown for the row to hold.
    #[must_use]
    pub const fn wants_certificate(&self) -> bool {
        self.certificate.is_some() || self.certificate_name.is_some()
    }

    /// The account that is charged when the server itself is: `peer:web01`.
    #[must_use]
    pub fn account(&self) -> AccountId {
        known_name(&format!("peer:{}", self.name))
    }

    /// True if the field of this kind in this header is what the server may say, and there is only one.
    pub(super) fn believes_field(&self, kind: Evidence, header: &HeaderEvidence) -> bool {
        let is_single = match kind {
            Evidence::XAuthUser => matches!(header.x_auth_user, Found::One(_)),
            Evidence::XAuthenticatedSender => {
                matches!(header.x_authenticated_sender, Found::One(_))
            }
            Evidence::PhpScript => matches!(header.php_script, Found::One(_)),
            _ => false,
        };
        is_single && self.identity_headers.contains(&kind)
    }

    fn account_of_userid(&self, userid: u32) -> AccountId {
        known_name(&format!("{userid}@{}", self.name))
    }
}

/// The addresses that a connection has been given, each only once it was said.
#[derive(Debug, Clone, Copy)]
pub struct Addresses {
    /// The TCP peer.
    pub tcp: IpAddr,
    /// What the PROXY header said.
    pub proxy: Proxied,
    /// `XCLIENT ADDR=`.
    pub xclient: Option<IpAddr>,
    /// `XFORWARD ADDR=`.
    pub xforward: Option<IpAddr>,
}

/// What a PROXY header said of the client.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Proxied {
    /// There was none.
    #[default]
    Absent,
    /// Its address.
    Client(IpAddr),
    /// LOCAL or UNKNOWN: the balancer looks whether we live, or does not know for whom it speaks.
    Nobody,
}

impl Proxied {
    /// The client that was named.
    #[must_use]
    pub const fn client(self) -> Option<IpAddr> {
        match self {
            Self::Client(address) => Some(address),
            Self::Absent | Self::Nobody => None,
        }
    }
}

/// The address whose row of the trust table counts for relaying and for identity evidence: after PROXY and XCLIENT,
/// each believed only if `tcp_row`, the row of the TCP peer, has the right. XFORWARD is information about a third
/// host and moves no right. None if a PROXY header named nobody: the balancer's own rights are not lent to whoever it
/// could not name.
#[must_use]
pub fn source_address(tcp_row: Option<&TrustRow>, addresses: &Addresses) -> Option<IpAddr> {
    if addresses.proxy == Proxied::Nobody {
        return None;
    }
    let said = |address: Option<IpAddr>, may: fn(&TrustRow) -> bool| {
        address.filter(|_| tcp_row.is_some_and(may))
    };
    said(addresses.xclient, |row| row.xclient)
        .or_else(|| said(addresses.proxy.client(), |row| row.proxy))
        .or(Some(addresses.tcp))
}

/// The real sender's host, for charging and for the log: [`source_address`], then XFORWARD from a TCP peer with that
/// right.
#[must_use]
pub fn client_ip(tcp_row: Option<&TrustRow>, addresses: &Addresses) -> ClientIp {
    let forwarded = addresses.xforward.filter(|_| tcp_row.is_some_and(|row| row.xforward));
    let source = || source_address(tcp_row, addresses).unwrap_or(addresses.tcp);
    ClientIp::new(forwarded.unwrap_or_else(source))
}

/// What is known about a transaction's sender at MAIL.
#[derive(Debug, Clone, Copy)]
pub struct Facts<'a> {
    /// The listener's list, best first.
    pub evidence: &'a [Evidence],
    /// The row for [`source_address`] and the login.
    pub row: Option<&'a TrustRow>,
    /// The login that was authenticated on this connection.
    pub login: Option<&'a AccountId>,
    /// `XCLIENT LOGIN=`, if the TCP peer's row has the right.
    pub xclient_login: Option<&'a AccountId>,
    /// `AUTH=` of MAIL.
    pub mail_auth: Option<&'a MailAuth>,
    /// The envelope sender.
    pub sender: &'a ReversePath,
    /// What is charged for [`client_ip`].
    pub client: IpPrefix,
}

/// Who is charged.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// The account.
    pub account: AccountId,
    /// What named it.
    pub evidence: Evidence,
    /// The trusted server that handed the mail in.
    pub peer: Option<PeerName>,
    /// True if that server's own limits are charged in the same step.
    pub charges_peer: bool,
    /// Evidence that was present and not believed; for an event.
    pub rejected: Option<Rejected>,
}

impl Identity {
    /// True if a plan's limits count; false if the server itself is the account, which has only its own limits.
    #[must_use]
    pub fn follows_plan(&self) -> bool {
        self.evidence != Evidence::Peer
    }
}

/// Evidence that was present and not believed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rejected {
    /// Which.
    pub evidence: Evidence,
    /// Why: `twice`, `malformed`, `not-entitled`, `contradicted`.
    pub reason: &'static str,
}

/// The decision at MAIL.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AtMail {
    /// This account is charged as recipients come.
    Named(Identity),
    /// Evidence that counts more may stand in the header: [`decide_at_message`] at the end of DATA, when everything
    /// is charged at once.
    WaitForHeader,
    /// No login and no trusted client: nothing is relayed.
    NotRelaying,
}

/// Decides at MAIL who is charged.
#[must_use]
pub fn decide_at_mail(facts: &Facts<'_>) -> AtMail {
    if !facts.may_relay() {
        return AtMail::NotRelaying;
    }
    match facts.walk(None) {
        Walk::Ended(identity) => AtMail::Named(identity),
        Walk::HeaderNeeded => AtMail::WaitForHeader,
    }
}

/// Decides at the end of DATA who is charged, for a transaction that [`decide_at_mail`] let wait.
#[must_use]
pub fn decide_at_message(facts: &Facts<'_>, header: &HeaderEvidence) -> Identity {
    match facts.walk(Some(header)) {
        Walk::Ended(identity) => identity,
        // Nothing waits for a header that is there.
        Walk::HeaderNeeded => facts.remainder(None),
    }
}

enum Walk {
    Ended(Identity),
    HeaderNeeded,
}

/// What one kind of evidence says.
enum Says {
    Nothing,
    Account(AccountId),
    /// It is only known at the end of DATA.
    Later,
    /// The walk goes on, and an event says that this did not count.
    Ignored(&'static str),
    /// The walk ends, and the server is charged.
    Ambiguous(&'static str),
}

impl Facts<'_> {
    fn may_relay(&self) -> bool {
        self.login.is_some()
            || self.xclient_login.is_some()
            || self.row.is_some_and(|row| row.relay && row.login.is_none())
    }

    /// Walks down the list until something names an account.
    fn walk(&self, header: Option<&HeaderEvidence>) -> Walk {
        let mut rejected = None;
        for &evidence in self.evidence {
            let reject = |reason| Some(Rejected { evidence, reason });
            match self.says(evidence, header) {
                Says::Nothing => {}
                Says::Account(account) => {
                    return Walk::Ended(self.identity(account, evidence, rejected));
                }
                Says::Later => return Walk::HeaderNeeded,
                Says::Ignored(reason) => rejected = rejected.or_else(|| reject(reason)),
                Says::Ambiguous(reason) => {
                    return Walk::Ended(self.server_itself(reject(reason)));
                }
            }
        }
        Walk::Ended(self.remainder(rejected))
    }

    fn says(&self, evidence: Evidence, header: Option<&HeaderEvidence>) -> Says {
        match evidence {
            Evidence::Auth => account_or_nothing(self.login.filter(|_| !self.is_server_login())),
            Evidence::XclientLogin => account_or_nothing(self.xclient_login),
            Evidence::MailAuth => self.mail_auth_says(),
            Evidence::MailFrom => self.sender_says(),
            Evidence::ClientIp if self.row.is_some() => {
                Says::Account(known_name(&self.client.to_string()))
            }
            Evidence::ClientIp | Evidence::Peer => Says::Nothing,
            in_header => self.header_says(in_header, header),
        }
    }

    /// A server's login says which server it is, not whose mail it hands in.
    fn is_server_login(&self) -> bool {
        self.row.is_some_and(|row| row.login.is_some() && row.login.as_ref() == self.login)
    }

    /// RFC 4954 §5: from a client that is not trusted to say it, the parameter is as good as `AUTH=<>`.
    fn mail_auth_says(&self) -> Says {
        let Some(MailAuth::Mailbox(mailbox)) = self.mail_auth else {
            return Says::Nothing;
        };
        if !self.row.is_some_and(|row| row.mail_auth) {
            return Says::Ignored("not-entitled");
        }
        mailbox.parse().map_or(Says::Ambiguous("malformed"), Says::Account)
    }

    fn sender_says(&self) -> Says {
        let sender = self.sender.address().filter(|_| self.row.is_some());
        let account = sender.and_then(|address| address.as_str().parse().ok());
        account_or_nothing(account.as_ref().filter(|account| !is_userid_account(account)))
    }

    fn header_says(&self, evidence: Evidence, header: Option<&HeaderEvidence>) -> Says {
        let Some(row) = self.row.filter(|row| row.identity_headers.contains(&evidence)) else {
            return Says::Nothing;
        };
        let Some(header) = header else {
            return Says::Later;
        };
        match evidence {
            Evidence::XAuthUser => named(&header.x_auth_user, AccountId::clone),
            Evidence::XAuthenticatedSender => {
                named(&header.x_authenticated_sender, AccountId::clone)
            }
            Evidence::ReceivedAuth => named(&header.received_auth, AccountId::clone),
            Evidence::ReceivedUserid => {
                named(&header.received_userid, |&userid| row.account_of_userid(userid))
            }
            Evidence::PhpScript if contradicts_script(row, header) => Says::Ignored("contradicted"),
            Evidence::PhpScript => named(&header.php_script, |&owner| row.account_of_userid(owner)),
            _ => Says::Nothing,
        }
    }

    /// Nothing in the list names an account: a login stands for itself, otherwise the server does.
    fn remainder(&self, rejected: Option<Rejected>) -> Identity {
        if let Some(login) = self.login {
            self.identity(login.clone(), Evidence::Auth, rejected)
        } else if let Some(login) = self.xclient_login {
            self.identity(login.clone(), Evidence::XclientLogin, rejected)
        } else {
            self.server_itself(rejected)
        }
    }

    /// True if the MTA's own word for the user stands beside the field that PHP wrote. Without it any script can write a fresh
    /// user id.
    fn script_is_confirmed(&self) -> bool {
        self.row.is_some_and(|row| row.identity_headers.contains(&Evidence::ReceivedUserid))
    }

    fn server_itself(&self, rejected: Option<Rejected>) -> Identity {
        // Without a row only a login may relay, so the address is never what is charged for a stranger.
        let client = || known_name(&self.client.to_string());
        let account = self.row.map_or_else(client, TrustRow::account);
        self.identity(account, Evidence::Peer, rejected)
    }

    fn identity(
        &self,
        account: AccountId,
        evidence: Evidence,
        rejected: Option<Rejected>,
    ) -> Identity {
        let by_server = evidence.is_weak()
            || evidence == Evidence::Peer
            || (evidence == Evidence::PhpScript && !self.script_is_confirmed())
            || (evidence == Evidence::Auth && self.is_server_login());
        Identity {
            account,
            evidence,
            peer: self.row.map(|row| row.name.clone()),
            charges_peer: by_server && self.row.is_some(),
            rejected,
        }
    }
}

fn account_or_nothing(account: Option<&AccountId>) -> Says {
    account.cloned().map_or(Says::Nothing, Says::Account)
}

fn named<T>(found: &Found<T>, account: impl FnOnce(&T) -> AccountId) -> Says {
    match found {
        Found::Absent => Says::Nothing,
        Found::One(value) => Says::Account(account(value)),
        Found::Twice => Says::Ambiguous("twice"),
        Found::Malformed => Says::Ambiguous("malformed"),
    }
}

/// Where the server's Received fields tell user ids, a script's field counts only if they agree: a script can run
/// `sendmail` with a field of its own, but not with another user id.
fn contradicts_script(row: &TrustRow, header: &HeaderEvidence) -> bool {
    let Found::One(owner) = header.php_script else {
        return false;
    };
    row.identity_headers.contains(&Evidence::ReceivedUserid)
        && header.received_userid != Found::One(owner)
}

/// The tenant of an account that was given none: its domain; else, and for `1042@web01`, whose domain part is only a
/// server that many customers share, the account's own name.
#[must_use]
pub fn tenant_of(account: &AccountId) -> TenantId {
    // Names are checked after folding, so a part that is not empty is a checked name itself.
    tenant_name_of(account).parse().expect("a part of an account's name is a name")
}

/// The name of that tenant.
#[must_use]
pub fn tenant_name_of(account: &AccountId) -> &str {
    let domain = account.domain().filter(|_| !is_userid_account(account));
    domain.unwrap_or(account.as_str())
}

/// True of `1042@web01`: digits, and a name without a dot.
fn is_userid_account(account: &AccountId) -> bool {
    account.as_str().rsplit_once('@').is_some_and(|(local, host)| {
        local.bytes().all(|b| b.is_ascii_digit()) && !host.contains('.')
    })
}

/// True if a login may use this envelope sender: its own name, an address or `@domain` in its list, or `<>`, which
/// names nobody.
#[must_use]
pub fn sender_allowed(account: &AccountId, senders: &[String], sender: &ReversePath) -> bool {
    let Some(address) = sender.address() else {
        return true;
    };
    let (address, domain) = (address.as_str().to_lowercase(), address.domain().to_lowercase());
    let allows = |entry: &String| {
        let entry = entry.to_lowercase();
        entry.strip_prefix('@').map_or(entry == address, |listed| listed == domain)
    };
    account.as_str() == address || senders.iter().any(allows)
}

/// Makes a name from parts that are short, printable and without blanks: names of rows, numbers, addresses.
fn known_name(text: &str) -> AccountId {
    text.parse().expect("row names, numbers and IP addresses make a valid name")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::header_evidence;

    fn account(text: &str) -> AccountId {
        text.parse().unwrap()
    }

    fn row(change: impl FnOnce(&mut TrustRow)) -> Arc<TrustRow> {
        let mut row = TrustRow {
            name: "web01".parse().unwrap(),
            networks: vec!["192.0.2.0/28".parse().unwrap()],
            login: None,
            certificate: None,
            certificate_name: None,
            relay: false,
            xclient: false,
            xforward: false,
            proxy: false,
            mail_auth: false,
            identity_headers: Vec::new(),
            limits: Vec::new(),
            own_server: true,
        };
        change(&mut row);
        Arc::new(row)
    }

    const ALL: [Evidence; 10] = [
        Evidence::Auth,
        Evidence::XclientLogin,
        Evidence::MailAuth,
        Evidence::XAuthUser,
        Evidence::XAuthenticatedSender,
        Evidence::ReceivedAuth,
        Evidence::ReceivedUserid,
        Evidence::PhpScript,
        Evidence::MailFrom,
        Evidence::ClientIp,
    ];

    /// One attempt: whose connection, what it says, what the message holds. The defaults are mail without any evidence.
    #[derive(Default)]
    struct Try<'a> {
        row: Option<Arc<TrustRow>>,
        list: Option<&'a [Evidence]>,
        login: &'a str,
        xclient_login: &'a str,
        mail_auth: &'a str,
        sender: &'a str,
        header: &'a str,
    }

    /// `account evidence`, `+peer` if the server is charged too, and `!reason` if evidence was rejected.
    fn outcome(attempt: &Try<'_>) -> String {
        let optional = |text: &str| (!text.is_empty()).then(|| account(text));
        let (login, xclient_login) = (optional(attempt.login), optional(attempt.xclient_login));
        let mail_auth = (!attempt.mail_auth.is_empty())
            .then(|| MailAuth::Mailbox(attempt.mail_auth.to_owned()));
        let sender = match attempt.sender {
            "" => ReversePath::Null,
            address => ReversePath::Mailbox(address.parse().unwrap()),
        };
        let facts = Facts {
            evidence: attempt.list.unwrap_or(&ALL),
            row: attempt.row.as_deref(),
            login: login.as_ref(),
            xclient_login: xclient_login.as_ref(),
            mail_auth: mail_auth.as_ref(),
            sender: &sender,
            client: ClientIp::new("192.0.2.1".parse().unwrap()).prefix(64),
        };
        let identity = match decide_at_mail(&facts) {
            AtMail::NotRelaying => return String::from("not relaying"),
            AtMail::Named(identity) => {
                let header = header_evidence(attempt.header.as_bytes());
                assert_eq!(decide_at_message(&facts, &header), identity, "MAIL and DATA disagree");
                identity
            }
            AtMail::WaitForHeader => {
                decide_at_message(&facts, &header_evidence(attempt.header.as_bytes()))
            }
        };
        assert_eq!(identity.follows_plan(), !identity.account.as_str().starts_with("peer:"));
        let peer = if identity.charges_peer { " +peer" } else { "" };
        let reason = identity.rejected.map_or_else(String::new, |r| format!(" !{}", r.reason));
        format!("{} {}{peer}{reason}", identity.account, identity.evidence)
    }

    fn check(attempt: &Try<'_>, expected: &str) {
        assert_eq!(outcome(attempt), expected);
    }

    const POSTFIX_AUTH: &str = "Received: from pc (h [198.51.100.7])\r\n\t(Authenticated sender: a@shop.example)\r\n\tby web01 (Postfix) with ESMTPSA id 1; x\r\n";
    const POSTFIX_LOCAL: &str = "Received: by web01 (Postfix, from userid 1042)\r\n\tid 1; x\r\n";

    /// Believed when the right is there; without it the same words name nobody.
    #[test]
    fn each_kind_of_evidence_counts_only_with_its_right() {
        use Evidence::{PhpScript, ReceivedAuth, ReceivedUserid, XAuthUser, XAuthenticatedSender};
        let reads = |evidence| move |row: &mut TrustRow| row.identity_headers = vec![evidence];
        type Grant = Box<dyn Fn(&mut TrustRow)>;
        let cases: [(Grant, Try<'_>, &str, &str); 6] = [
            (
                Box::new(|row| row.mail_auth = true),
                Try { mail_auth: "a@shop.example", ..Try::default() },
                "a@shop.example mail-auth",
                "192.0.2.1 client-ip +peer !not-entitled",
            ),
            (
                Box::new(reads(XAuthUser)),
                Try { header: "X-AuthUser: a@shop.example\r\n", ..Try::default() },
                "a@shop.example x-auth-user",
                "192.0.2.1 client-ip +peer",
            ),
            (
                Box::new(reads(XAuthenticatedSender)),
                Try { header: "X-Authenticated-Sender: a@shop.example\r\n", ..Try::default() },
                "a@shop.example x-authenticated-sender",
                "192.0.2.1 client-ip +peer",
            ),
            (
                Box::new(reads(ReceivedAuth)),
                Try { header: POSTFIX_AUTH, ..Try::default() },
                "a@shop.example received-auth",
                "192.0.2.1 client-ip +peer",
            ),
            (
                Box::new(reads(ReceivedUserid)),
                Try { header: POSTFIX_LOCAL, ..Try::default() },
                "1042@web01 received-userid",
                "192.0.2.1 client-ip +peer",
            ),
            (
                Box::new(reads(PhpScript)),
                Try { header: "X-PHP-Originating-Script: 1042:a.php\r\n", ..Try::default() },
                "1042@web01 php-script +peer",
                "192.0.2.1 client-ip +peer",
            ),
        ];
        for (grant, attempt, believed, otherwise) in cases {
            let relay = |row: &mut TrustRow| row.relay = true;
            let entitled = row(|row| {
                relay(row);
                grant(row);
            });
            check(&Try { row: Some(row(relay)), ..clone(&attempt) }, otherwise);
            check(&Try { row: Some(entitled), ..clone(&attempt) }, believed);
            // A server that is bound to a login has no rights before it logged in, and its words count after it.
            check(&Try { row: None, ..clone(&attempt) }, "not relaying");
            let bound = row(|row| {
                row.login = Some(account("srv-web01"));
                grant(row);
            });
            check(&Try { row: Some(bound), login: "srv-web01", ..clone(&attempt) }, believed);
        }
    }

    fn clone<'a>(attempt: &Try<'a>) -> Try<'a> {
        Try { row: attempt.row.clone(), ..*attempt }
    }

    /// A script on the trusted web host `web01`. The host's own Postfix is entitled to name the login and the user
    /// id; it puts a Received field of its own on top of whatever the script writes.
    #[test]
    fn a_script_that_forges_evidence_frames_nobody() {
        let web01 = row(|row| {
            row.relay = true;
            row.identity_headers =
                vec![Evidence::ReceivedAuth, Evidence::ReceivedUserid, Evidence::PhpScript];
        });
        let forge = |header: &str, expected: &str| {
            check(&Try { row: Some(web01.clone()), header, ..Try::default() }, expected);
        };
        let local = |fields: &str| format!("{POSTFIX_LOCAL}{fields}");
        let own = "1042@web01 received-userid";
        forge(&local("X-AuthUser: victim@shop.example\r\n"), own);
        forge(&local("X-Authenticated-Sender: victim@shop.example\r\n"), own);
        forge(&local(POSTFIX_AUTH), own);
        forge(&local("Received: by web01 (Postfix, from userid 7)\r\n\tid 2; x\r\n"), own);
        forge(&local("X-PHP-Originating-Script: 7:victim.php\r\n"), own);
        forge(
            &local("X-PHP-Originating-Script: 1042:a.php\r\nX-PHP-Originating-Script: 7:b.php\r\n"),
            own,
        );
        // Over SMTP to the host's Postfix nothing names a user, and the address is charged together with the host.
        let smtp = "Received: from (Authenticated.sender:victim) (localhost [127.0.0.1])\r\n\tby web01 (Postfix) with ESMTP id 3; x\r\n";
        forge(smtp, "192.0.2.1 client-ip +peer");
        let smtp = "Received: from x (localhost [127.0.0.1])\r\n\tby web01 (Postfix) with ESMTP id 3; x\r\n";
        forge(&format!("{smtp}{POSTFIX_AUTH}"), "192.0.2.1 client-ip +peer");
        forge(&format!("{smtp}{POSTFIX_LOCAL}"), "192.0.2.1 client-ip +peer");
        forge(
            &format!("{smtp}X-PHP-Originating-Script: 7:victim.php\r\n"),
            "192.0.2.1 client-ip +peer !contradicted",
        );
        // An MTA that lets a client's EHLO through as it is: ambiguous, so the host is charged and an event says so.
        let helo = "Received: from (Authenticated sender: victim) (localhost [127.0.0.1])\r\n\tby web01 with ESMTP id 3; x\r\n";
        forge(helo, "peer:web01 peer +peer !malformed");
    }

    #[test]
    fn a_script_that_speaks_smtp_itself_gains_nothing() {
        let everything = |row: &mut TrustRow| {
            row.mail_auth = true;
            row.identity_headers = ALL.into_iter().filter(|e| e.is_in_header()).collect();
        };
        let forged = Try {
            mail_auth: "victim@shop.example",
            sender: "victim@shop.example",
            header: "X-AuthUser: victim@shop.example\r\n",
            ..Try::default()
        };
        // Bound to the server's login, the row does not hold for the script, so the facts have no row.
        let bound = row(|row| {
            everything(row);
            row.login = Some(account("srv-web01"));
        });
        let rows = [bound];
        assert!(
            TrustTable::new(&rows)
                .row_for("192.0.2.1".parse().unwrap(), Shown::default())
                .is_none()
        );
        check(&forged, "not relaying");
        // With a customer's login of its own it is that customer.
        let own = Try { login: "a@shop.example", ..clone(&forged) };
        check(&own, "a@shop.example auth");
        // Rights without `relay` do not relay.
        check(&Try { row: Some(row(everything)), ..clone(&forged) }, "not relaying");
    }

    #[test]
    fn ambiguous_fields_charge_the_server() {
        let web01 = row(|row| {
            row.relay = true;
            row.mail_auth = true;
            row.identity_headers = vec![Evidence::XAuthUser, Evidence::ReceivedUserid];
        });
        let forge = |header: &str, expected: &str| {
            let row = Some(web01.clone());
            check(&Try { row, header, sender: "a@b.example", ..Try::default() }, expected);
        };
        forge("X-AuthUser: a\r\nX-AuthUser: a\r\n", "peer:web01 peer +peer !twice");
        forge(
            &format!("{POSTFIX_LOCAL}X-AuthUser: a\r\nX-AuthUser: v\r\n"),
            "peer:web01 peer +peer !twice",
        );
        forge("X-AuthUser: a b\r\n", "peer:web01 peer +peer !malformed");
        let row = Some(web01.clone());
        check(&Try { row, mail_auth: "a b", ..Try::default() }, "peer:web01 peer +peer !malformed");
    }

    #[test]
    fn the_listeners_order_rules() {
        let web01 = row(|row| {
            row.relay = true;
            row.identity_headers = vec![Evidence::XAuthUser];
        });
        let full = Try {
            row: Some(web01),
            login: "a@shop.example",
            sender: "s@shop.example",
            header: "X-AuthUser: h@shop.example\r\n",
            ..Try::default()
        };
        let ordered =
            |list, expected: &str| check(&Try { list: Some(list), ..clone(&full) }, expected);
        ordered(&[Evidence::Auth, Evidence::XAuthUser], "a@shop.example auth");
        ordered(&[Evidence::XAuthUser, Evidence::Auth], "h@shop.example x-auth-user");
        ordered(&[Evidence::MailFrom, Evidence::Auth], "s@shop.example mail-from +peer");
        ordered(&[Evidence::ClientIp], "192.0.2.1 client-ip +peer");
        ordered(&[Evidence::ReceivedAuth], "a@shop.example auth");
        ordered(&[], "a@shop.example auth");
        let stranger = Try { row: None, list: Some(&[Evidence::MailFrom]), ..clone(&full) };
        check(&stranger, "a@shop.example auth");
    }

    #[test]
    fn what_is_left_is_the_server_or_its_login() {
        let relay = || Some(row(|row| row.relay = true));
        let weak = Some(&[Evidence::MailFrom][..]);
        check(&Try { row: relay(), list: weak, ..Try::default() }, "peer:web01 peer +peer");
        check(
            &Try { row: relay(), list: weak, sender: "1042@web02", ..Try::default() },
            "peer:web01 peer +peer",
        );
        check(
            &Try { row: relay(), list: weak, sender: "1@shop.example", ..Try::default() },
            "1@shop.example mail-from +peer",
        );
        let bound = || Some(row(|row| row.login = Some(account("srv-web01"))));
        let logged_in = Try { row: bound(), list: weak, login: "srv-web01", ..Try::default() };
        check(&logged_in, "srv-web01 auth +peer");
        check(&Try { sender: "a@b.example", ..clone(&logged_in) }, "a@b.example mail-from +peer");
        check(
            &Try { row: relay(), login: "a@shop.example", ..Try::default() },
            "a@shop.example auth",
        );
        check(
            &Try { xclient_login: "a@shop.example", ..Try::default() },
            "a@shop.example xclient-login",
        );
        check(
            &Try {
                xclient_login: "a@shop.example",
                list: weak,
                sender: "b@c.example",
                ..Try::default()
            },
            "a@shop.example xclient-login",
        );
    }

    #[test]
    fn the_first_row_that_holds_counts() {
        let rows = [
            row(|row| row.login = Some(account("srv"))),
            row(|row| {
                row.name = "anywhere".parse().unwrap();
                row.networks.clear();
                row.login = Some(account("far"));
            }),
            row(|row| row.name = "plain".parse().unwrap()),
            row(|row| row.name = "shadowed".parse().unwrap()),
        ];
        let found = |peer: &str, login: Option<&str>| {
            let login = login.map(account);
            let shown = Shown { login: login.as_ref(), certificate: None };
            TrustTable::new(&rows)
                .row_for(peer.parse().unwrap(), shown)
                .map_or_else(|| String::from("none"), |row| row.name.to_string())
        };
        for (peer, login, name) in [
            ("192.0.2.1", None, "plain"),
            ("192.0.2.1", Some("srv"), "web01"),
            ("192.0.2.1", Some("other"), "plain"),
            ("198.51.100.1", Some("srv"), "none"),
            ("198.51.100.1", Some("far"), "anywhere"),
            ("198.51.100.1", None, "none"),
            ("::ffff:192.0.2.1", None, "plain"),
            ("64:ff9b::192.0.2.1", None, "none"),
        ] {
            assert_eq!(found(peer, login), name, "{peer} {login:?}");
        }
        let table = TrustTable::new(&rows);
        assert!(!table.charges_client("192.0.2.1".parse().unwrap()));
        assert!(table.charges_client("198.51.100.1".parse().unwrap()));
    }

    #[test]
    fn a_row_with_a_certificate_holds_where_it_is_shown() {
        let print = |digit: &str| digit.repeat(64).parse::<Fingerprint>().unwrap();
        let shown = |certificate: &str, key: &str, names: &[&str]| ClientCertificate {
            certificate: print(certificate),
            key: print(key),
            names: names.iter().map(|name| name.parse().unwrap()).collect(),
        };
        let rows = [
            row(|row| {
                row.name = "both".parse().unwrap();
                row.certificate = Some(print("a"));
                row.login = Some(account("srv"));
            }),
            row(|row| {
                row.name = "pinned".parse().unwrap();
                row.certificate = Some(print("a"));
            }),
            row(|row| {
                row.name = "roaming".parse().unwrap();
                row.networks.clear();
                row.certificate = Some(print("b"));
            }),
            row(|row| {
                row.name = "named".parse().unwrap();
                row.networks.clear();
                row.certificate_name = Some("web01.shop.example".parse().unwrap());
            }),
        ];
        let found = |peer: &str, login: Option<&str>, certificate: Option<&ClientCertificate>| {
            let login = login.map(account);
            let shown = Shown { login: login.as_ref(), certificate };
            TrustTable::new(&rows)
                .row_for(peer.parse().unwrap(), shown)
                .map_or_else(|| String::from("none"), |row| row.name.to_string())
        };
        let (here, there) = ("192.0.2.1", "198.51.100.1");
        let (own, by_key) = (shown("a", "1", &[]), shown("2", "a", &[]));
        for (peer, login, certificate, name) in [
            (here, None, None, "none"),
            (here, None, Some(&own), "pinned"),
            (here, None, Some(&by_key), "pinned"),
            (here, Some("srv"), Some(&own), "both"),
            (here, Some("srv"), None, "none"),
            (there, None, Some(&own), "none"),
            (there, None, Some(&shown("b", "b", &[])), "roaming"),
            (there, None, Some(&shown("c", "c", &["WEB01.shop.example"])), "named"),
            (there, None, Some(&shown("c", "c", &["web02.shop.example"])), "none"),
            (there, None, Some(&shown("c", "c", &[])), "none"),
        ] {
            assert_eq!(found(peer, login, certificate), name, "{peer} {login:?} {certificate:?}");
        }
        // A certificate names the server, as an address does: it relays only with the right.
        let relay = |relay: bool| {
            let row = row(|row| (row.certificate, row.relay) = (Some(print("a")), relay));
            Try { row: Some(row), sender: "a@shop.example", ..Try::default() }
        };
        check(&relay(true), "a@shop.example mail-from +peer");
        check(&relay(false), "not relaying");
    }

    #[test]
    fn addresses_are_believed_by_right() {
        let said = Addresses {
            tcp: "192.0.2.1".parse().unwrap(),
            proxy: Proxied::Client("198.51.100.2".parse().unwrap()),
            xclient: Some("198.51.100.3".parse().unwrap()),
            xforward: Some("198.51.100.4".parse().unwrap()),
        };
        type Grant = fn(&mut TrustRow);
        let cases: [(Grant, &str, &str); 5] = [
            (|_| {}, "192.0.2.1", "192.0.2.1"),
            (|row| row.proxy = true, "198.51.100.2", "198.51.100.2"),
            (|row| row.xclient = true, "198.51.100.3", "198.51.100.3"),
            (|row| row.xforward = true, "192.0.2.1", "198.51.100.4"),
            (|row| (row.proxy, row.xclient) = (true, true), "198.51.100.3", "198.51.100.3"),
        ];
        for (grant, source, client) in cases {
            let row = row(grant);
            assert_eq!(source_address(Some(&row), &said).unwrap().to_string(), source);
            assert_eq!(client_ip(Some(&row), &said).to_string(), client);
            let unnamed = Addresses { proxy: Proxied::Nobody, xforward: None, ..said };
            assert_eq!(source_address(Some(&row), &unnamed), None);
            assert_eq!(client_ip(Some(&row), &unnamed).to_string(), "192.0.2.1");
        }
        assert_eq!(client_ip(None, &said).to_string(), "192.0.2.1");
    }

    #[test]
    fn an_accounts_tenant_is_its_domain() {
        for (name, tenant) in [
            ("a@shop.example", "shop.example"),
            ("1@shop.example", "shop.example"),
            ("www@web01", "web01"),
            ("1042@web01", "1042@web01"),
            ("web-17", "web-17"),
            ("peer:web01", "peer:web01"),
            ("192.0.2.1", "192.0.2.1"),
        ] {
            assert_eq!(tenant_of(&account(name)).as_str(), tenant);
        }
    }

    #[test]
    fn a_login_uses_its_own_senders() {
        let senders = [String::from("News@Shop.example"), String::from("@Other.example")];
        let allowed = |sender: &str| {
            let sender = ReversePath::Mailbox(sender.parse().unwrap());
            sender_allowed(&account("a@shop.example"), &senders, &sender)
        };
        for own in ["a@shop.example", "A@SHOP.example", "news@shop.example", "x@other.example"] {
            assert!(allowed(own), "{own}");
        }
        for other in ["b@shop.example", "x@sub.other.example", "a@shop.example.net"] {
            assert!(!allowed(other), "{other}");
        }
        assert!(sender_allowed(&account("a@shop.example"), &[], &ReversePath::Null));
    }

    proptest::proptest! {
        #[test]
        fn every_account_has_a_tenant(name in "\\PC{1,330}") {
            if let Ok(account) = name.parse::<AccountId>() {
                let tenant = tenant_of(&account);
                assert!(account.as_str().ends_with(tenant.as_str()));
            }
        }
    }

    #[test]
    fn a_name_that_grows_when_it_is_folded_has_a_tenant() {
        let grows = "\u{130}".repeat(159);
        assert!(grows.parse::<AccountId>().is_err());
        let fits = account(&"\u{130}".repeat(100));
        assert_eq!(tenant_of(&fits).as_str(), fits.as_str());
    }
}
