//! Commands and their parameters (RFC 5321 §4.1, RFC 1870, 3461, 4954, 6152, 6531).
//!
//! Reading: [`Verb::split`] tells which command a line is, so that a session can say "not now" before it says "not like
//! this", and [`Command::parse`] reads its arguments. Writing: [`write_mail`] and [`write_rcpt`] make the command lines
//! for a next hop, with the parameters that it offers. What a session does with a command is none of this module's business.

use super::{
    Extensions,
    path::{PathError, parse_path},
    server::Mechanism,
    xclient::{Attributes, Kind},
    xtext,
};
use crate::types::{Address, Domain, ReversePath};

/// Which command a line is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verb {
    /// HELO.
    Helo,
    /// EHLO.
    Ehlo,
    /// MAIL.
    Mail,
    /// RCPT.
    Rcpt,
    /// DATA.
    Data,
    /// BDAT.
    Bdat,
    /// RSET.
    Rset,
    /// NOOP.
    Noop,
    /// QUIT.
    Quit,
    /// VRFY.
    Vrfy,
    /// EXPN.
    Expn,
    /// HELP.
    Help,
    /// STARTTLS.
    StartTls,
    /// AUTH.
    Auth,
    /// XCLIENT.
    Xclient,
    /// XFORWARD.
    Xforward,
    /// The first line of another protocol: a browser, or a browser that was tricked.
    Foreign,
    /// Anything else.
    Unknown,
}

impl Verb {
    /// Splits a line (without its CRLF) into the command and its arguments. A line with control characters in it is no command,
    /// except that BDAT is always BDAT, because octets follow it.
    #[must_use]
    pub fn split(line: &[u8]) -> (Self, &[u8]) {
        let end = line.iter().position(|&byte| is_blank(byte)).unwrap_or(line.len());
        let (word, arguments) = (&line[..end], line[end..].trim_ascii());
        let is = |&&(name, _): &&(&str, Self)| word.eq_ignore_ascii_case(name.as_bytes());
        let verb = match VERBS.iter().find(is) {
            Some(&(_, verb)) => verb,
            None if is_foreign(word, arguments) => Self::Foreign,
            None => Self::Unknown,
        };
        let clean = !line.iter().any(|&byte| byte.is_ascii_control() && byte != b'\t');
        (if clean || verb == Self::Bdat { verb } else { Self::Unknown }, arguments)
    }
}

const VERBS: [(&str, Verb); 16] = [
    ("MAIL", Verb::Mail),
    ("RCPT", Verb::Rcpt),
    ("DATA", Verb::Data),
    ("BDAT", Verb::Bdat),
    ("EHLO", Verb::Ehlo),
    ("HELO", Verb::Helo),
    ("QUIT", Verb::Quit),
    ("RSET", Verb::Rset),
    ("NOOP", Verb::Noop),
    ("AUTH", Verb::Auth),
    ("STARTTLS", Verb::StartTls),
    ("XFORWARD", Verb::Xforward),
    ("XCLIENT", Verb::Xclient),
    ("VRFY", Verb::Vrfy),
    ("EXPN", Verb::Expn),
    ("HELP", Verb::Help),
];

/// True of lines that begin HTTP (RFC 9110 §9.1, RFC 5789, RFC 9113 §3.4), SSH (RFC 4253 §4.2), SIP and RTSP.
fn is_foreign(word: &[u8], arguments: &[u8]) -> bool {
    let last = arguments.rsplit(|&byte| is_blank(byte)).next().unwrap_or_default();
    FOREIGN_WORDS.iter().any(|foreign| word == foreign.as_bytes())
        || word.starts_with(b"SSH-")
        || ["HTTP/", "RTSP/", "SIP/"].iter().any(|version| last.starts_with(version.as_bytes()))
}

const FOREIGN_WORDS: [&str; 10] =
    ["GET", "POST", "HEAD", "PUT", "OPTIONS", "CONNECT", "DELETE", "TRACE", "PATCH", "PRI"];

/// A command, its arguments checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Command {
    /// HELO with the client's name.
    Helo(Domain),
    /// EHLO with the client's name.
    Ehlo(Domain),
    /// MAIL.
    Mail(MailRequest),
    /// RCPT.
    Rcpt(RcptRequest),
    /// DATA.
    Data,
    /// BDAT.
    Bdat(ChunkSize),
    /// RSET.
    Rset,
    /// NOOP, whatever comes with it.
    Noop,
    /// QUIT.
    Quit,
    /// VRFY, whomever it asks for.
    Vrfy,
    /// HELP, whatever it asks for.
    Help,
    /// STARTTLS.
    StartTls,
    /// AUTH with a mechanism that we know.
    Auth {
        /// The mechanism.
        mechanism: Mechanism,
        /// The initial response, still in base64.
        initial: Option<String>,
    },
    /// XCLIENT.
    Xclient(Attributes),
    /// XFORWARD.
    Xforward(Attributes),
}

/// Whether something is offered, and so may be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Offer {
    /// It is.
    Yes,
    /// It is not.
    No,
}

/// What the arguments of a command may use.
#[derive(Debug, Clone, Copy)]
pub struct Context<'a> {
    /// What EHLO offered; nothing after HELO.
    pub extensions: &'a Extensions,
    /// `AUTH=` in MAIL.
    pub mail_auth: Offer,
    /// Characters outside ASCII in RCPT: this transaction asked for SMTPUTF8.
    pub utf8_recipients: Offer,
}

/// Why a command cannot be obeyed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum CommandError {
    /// No command that we know.
    #[error("unknown command")]
    Unknown,
    /// We know it and do not obey it.
    #[error("command not implemented")]
    NotImplemented,
    /// Not text.
    #[error("not text")]
    NotText,
    /// An argument is missing, superfluous or malformed.
    #[error("wrong argument")]
    Argument,
    /// The address in MAIL.
    #[error("wrong sender address: {0}")]
    Sender(PathError),
    /// The address in RCPT.
    #[error("wrong recipient address: {0}")]
    Recipient(PathError),
    /// The address in RCPT names a way (`user%other@relay`, `other!user@relay`, `"user@other"@relay`).
    #[error("a route in the recipient address")]
    Route,
    /// A parameter that was not offered.
    #[error("unknown parameter")]
    ParameterUnknown,
    /// A parameter's value, or a parameter that comes twice.
    #[error("wrong parameter")]
    Parameter,
    /// A SASL mechanism that we do not know.
    #[error("unknown mechanism")]
    Mechanism,
    /// The arguments of BDAT, so that nobody knows how many octets follow.
    #[error("wrong chunk size")]
    ChunkSize,
}

impl CommandError {
    /// The reply, without its CRLF.
    #[must_use]
    pub const fn reply(self) -> &'static str {
        match self {
            Self::Unknown => "500 5.5.2 command not recognized",
            Self::NotImplemented => "502 5.5.1 command not implemented",
            Self::NotText => "500 5.5.2 command is not text",
            Self::Argument => "501 5.5.4 wrong argument",
            Self::Sender(PathError::NotAscii) | Self::Recipient(PathError::NotAscii) => {
                "553 5.6.7 address needs SMTPUTF8"
            }
            Self::Sender(_) => "501 5.1.7 wrong syntax of sender address",
            Self::Recipient(_) => "501 5.1.3 wrong syntax of recipient address",
            Self::Route => "553 5.1.3 a route in a recipient address (% or ! or @) is not allowed",
            Self::ParameterUnknown => "555 5.5.4 parameter not recognized",
            Self::Parameter => "501 5.5.4 wrong parameter",
            Self::Mechanism => "504 5.5.4 mechanism not recognized",
            Self::ChunkSize => "501 5.5.4 wrong chunk size",
        }
    }
}

impl Command {
    /// Reads the arguments of a command.
    ///
    /// # Errors
    ///
    /// What is wrong with it; [`CommandError::reply`] says so to the client.
    pub fn parse(
        verb: Verb,
        arguments: &[u8],
        context: &Context<'_>,
    ) -> Result<Self, CommandError> {
        match verb {
            Verb::Helo => parse_name(arguments).map(Self::Helo),
            Verb::Ehlo => parse_name(arguments).map(Self::Ehlo),
            Verb::Mail => parse_mail(text(arguments)?, context).map(Self::Mail),
            Verb::Rcpt => parse_rcpt(text(arguments)?, context).map(Self::Rcpt),
            Verb::Data => no_argument(arguments, Self::Data),
            Verb::Bdat => parse_chunk(arguments).map(Self::Bdat),
            Verb::Rset => no_argument(arguments, Self::Rset),
            Verb::Quit => no_argument(arguments, Self::Quit),
            Verb::StartTls => no_argument(arguments, Self::StartTls),
            Verb::Noop => Ok(Self::Noop),
            Verb::Help => Ok(Self::Help),
            Verb::Vrfy if arguments.is_empty() => Err(CommandError::Argument),
            Verb::Vrfy => Ok(Self::Vrfy),
            Verb::Auth => parse_auth(text(arguments)?),
            Verb::Xclient => parse_claim(Kind::Xclient, arguments).map(Self::Xclient),
            Verb::Xforward => parse_claim(Kind::Xforward, arguments).map(Self::Xforward),
            Verb::Expn => Err(CommandError::NotImplemented),
            Verb::Foreign | Verb::Unknown => Err(CommandError::Unknown),
        }
    }
}

/// The arguments of BDAT (RFC 3030 §2).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ChunkSize {
    /// Octets that follow the command line.
    pub octets: u64,
    /// `LAST`: the message ends with them.
    pub last: bool,
}

/// `MAIL FROM:<…>` with its parameters, checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MailRequest {
    /// The envelope sender.
    pub sender: ReversePath,
    /// `SIZE=` (RFC 1870).
    pub size: Option<u64>,
    /// `BODY=` (RFC 6152).
    pub body: Option<BodyType>,
    /// `SMTPUTF8` (RFC 6531).
    pub smtputf8: bool,
    /// `RET=` (RFC 3461 §4.3).
    pub ret: Option<Ret>,
    /// `ENVID=` (RFC 3461 §4.4), as written.
    pub envid: Option<String>,
    /// `AUTH=` (RFC 4954 §5).
    pub auth: Option<MailAuth>,
}

/// `BODY=`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BodyType {
    /// `BODY=7BIT`.
    SevenBit,
    /// `BODY=8BITMIME`.
    EightBitMime,
}

/// `RET=`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ret {
    /// `RET=FULL`.
    Full,
    /// `RET=HDRS`.
    Headers,
}

/// `AUTH=` of MAIL.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum MailAuth {
    /// `AUTH=<>`: unknown or not trusted.
    Unknown,
    /// `AUTH=mailbox`, its xtext decoded.
    Mailbox(String),
}

/// `RCPT TO:<…>` with its parameters, checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RcptRequest {
    /// The recipient; a source route was taken off (RFC 5321 §3.3, appendix C).
    pub address: Address,
    /// `NOTIFY=` (RFC 3461 §4.1), as written and checked.
    pub notify: Option<String>,
    /// `ORCPT=` (RFC 3461 §4.2), as written and checked.
    pub orcpt: Option<String>,
}

/// Writes the MAIL command for a next hop, with CRLF: parameters only where they are offered.
pub fn write_mail(request: &MailRequest, offered: &Extensions, out: &mut Vec<u8>) {
    out.extend_from_slice(b"MAIL FROM:<");
    if let Some(address) = request.sender.address() {
        out.extend_from_slice(address.as_str().as_bytes());
    }
    out.push(b'>');
    if let Some(size) = request.size.filter(|_| offered.size.is_some()) {
        out.extend_from_slice(format!(" SIZE={size}").as_bytes());
    }
    if let Some(body) = request.body.filter(|_| offered.eight_bit_mime) {
        out.extend_from_slice(body.parameter().as_bytes());
    }
    if request.smtputf8 && offered.smtputf8 {
        out.extend_from_slice(b" SMTPUTF8");
    }
    if offered.dsn {
        write_dsn(request, out);
    }
    if let Some(auth) = request.auth.as_ref().filter(|_| !offered.auth.is_empty()) {
        write_auth(auth, out);
    }
    out.extend_from_slice(b"\r\n");
}

/// Writes the RCPT command for a next hop, with CRLF: parameters only where they are offered.
pub fn write_rcpt(request: &RcptRequest, offered: &Extensions, out: &mut Vec<u8>) {
    out.extend_from_slice(b"RCPT TO:<");
    out.extend_from_slice(request.address.as_str().as_bytes());
    out.push(b'>');
    for (name, value) in [(" NOTIFY=", &request.notify), (" ORCPT=", &request.orcpt)] {
        if let Some(value) = value.as_ref().filter(|_| offered.dsn) {
            out.extend_from_slice(name.as_bytes());
            out.extend_from_slice(value.as_bytes());
        }
    }
    out.extend_from_slice(b"\r\n");
}

fn write_dsn(request: &MailRequest, out: &mut Vec<u8>) {
    match request.ret {
        Some(Ret::Full) => out.extend_from_slice(b" RET=FULL"),
        Some(Ret::Headers) => out.extend_from_slice(b" RET=HDRS"),
        None => {}
    }
    if let Some(envid) = &request.envid {
        out.extend_from_slice(b" ENVID=");
        out.extend_from_slice(envid.as_bytes());
    }
}

fn write_auth(auth: &MailAuth, out: &mut Vec<u8>) {
    out.extend_from_slice(b" AUTH=");
    match auth {
        MailAuth::Unknown => out.extend_from_slice(b"<>"),
        MailAuth::Mailbox(mailbox) => xtext::encode(mailbox.as_bytes(), out),
    }
}

impl BodyType {
    const fn parameter(self) -> &'static str {
        match self {
            Self::SevenBit => " BODY=7BIT",
            Self::EightBitMime => " BODY=8BITMIME",
        }
    }
}

fn text(arguments: &[u8]) -> Result<&str, CommandError> {
    str::from_utf8(arguments).map_err(|_| CommandError::NotText)
}

const fn is_blank(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t')
}

fn no_argument(arguments: &[u8], command: Command) -> Result<Command, CommandError> {
    if arguments.is_empty() { Ok(command) } else { Err(CommandError::Argument) }
}

/// The client's name. Mail programs put the machine's name there, whatever it is; what cannot stand in a host name is
/// replaced by `_`, and what follows a blank is left out, because refusing the greeting would help nobody.
fn parse_name(arguments: &[u8]) -> Result<Domain, CommandError> {
    let first = arguments.split(|&byte| is_blank(byte)).next().unwrap_or_default();
    let name: String = String::from_utf8_lossy(first)
        .chars()
        .map(|c| if c.is_ascii_alphanumeric() || "-._[]:".contains(c) { c } else { '_' })
        .collect();
    name.parse().map_err(|_| CommandError::Argument)
}

/// RFC 3030 §2: `chunk-size = 1*DIGIT`. What does not fit in 64 bits nobody can send.
fn parse_chunk(arguments: &[u8]) -> Result<ChunkSize, CommandError> {
    let text = str::from_utf8(arguments).map_err(|_| CommandError::ChunkSize)?;
    let mut words = text.split([' ', '\t']).filter(|word| !word.is_empty());
    let digits = words.next().filter(|word| word.bytes().all(|byte| byte.is_ascii_digit()));
    let octets = digits.and_then(|digits| digits.parse().ok()).ok_or(CommandError::ChunkSize)?;
    match (words.next(), words.next()) {
        (None, _) => Ok(ChunkSize { octets, last: false }),
        (Some(word), None) if word.eq_ignore_ascii_case("LAST") => {
            Ok(ChunkSize { octets, last: true })
        }
        _ => Err(CommandError::ChunkSize),
    }
}

fn parse_auth(arguments: &str) -> Result<Command, CommandError> {
    let mut words = arguments.split_ascii_whitespace();
    let name = words.next().ok_or(CommandError::Argument)?;
    let initial = words.next().map(str::to_owned);
    if words.next().is_some() {
        return Err(CommandError::Argument);
    }
    let found =
        Mechanism::ALL.into_iter().find(|mechanism| name.eq_ignore_ascii_case(mechanism.name()));
    found.map(|mechanism| Command::Auth { mechanism, initial }).ok_or(CommandError::Mechanism)
}

fn parse_claim(kind: Kind, arguments: &[u8]) -> Result<Attributes, CommandError> {
    Attributes::parse(kind, text(arguments)?).map_err(|_| CommandError::Argument)
}

fn parse_mail(arguments: &str, context: &Context<'_>) -> Result<MailRequest, CommandError> {
    let utf8 = if context.extensions.smtputf8 { Offer::Yes } else { Offer::No };
    let rest = after_keyword(arguments, "FROM:").ok_or(CommandError::Argument)?;
    let (sender, rest) = parse_path(rest, utf8).map_err(CommandError::Sender)?;
    let mut request = MailRequest {
        sender,
        size: None,
        body: None,
        smtputf8: false,
        ret: None,
        envid: None,
        auth: None,
    };
    let parameters = Parameters::split(rest).ok_or(CommandError::Sender(PathError::Syntax))?;
    for (name, value) in parameters {
        set_mail_parameter(&mut request, &name, value, context)?;
    }
    let unicode = request.sender.address().is_some_and(Address::needs_smtputf8);
    if unicode && !request.smtputf8 {
        return Err(CommandError::Sender(PathError::NotAscii));
    }
    Ok(request)
}

fn set_mail_parameter(
    request: &mut MailRequest,
    name: &str,
    value: Option<&str>,
    context: &Context<'_>,
) -> Result<(), CommandError> {
    let offered = context.extensions;
    match name {
        "SIZE" if offered.size.is_some() => set_once(&mut request.size, value.and_then(size)),
        "BODY" if offered.eight_bit_mime => set_once(&mut request.body, value.and_then(body)),
        "RET" if offered.dsn => set_once(&mut request.ret, value.and_then(ret)),
        "ENVID" if offered.dsn => set_once(&mut request.envid, value.and_then(envid)),
        "AUTH" if context.mail_auth == Offer::Yes => {
            set_once(&mut request.auth, value.and_then(mail_auth))
        }
        "SMTPUTF8" if offered.smtputf8 && value.is_none() && !request.smtputf8 => {
            request.smtputf8 = true;
            Ok(())
        }
        "SMTPUTF8" if offered.smtputf8 => Err(CommandError::Parameter),
        _ => Err(CommandError::ParameterUnknown),
    }
}

fn parse_rcpt(arguments: &str, context: &Context<'_>) -> Result<RcptRequest, CommandError> {
    let rest = after_keyword(arguments, "TO:").ok_or(CommandError::Argument)?;
    let (path, rest) =
        parse_path(rest, context.utf8_recipients).map_err(CommandError::Recipient)?;
    let syntax = CommandError::Recipient(PathError::Syntax);
    let ReversePath::Mailbox(address) = path else { return Err(syntax) };
    // A next hop trusts us, and one that takes the domain for its own goes where the local part says (RFC 5321 appendix C).
    if address.local().contains(['%', '!', '@']) {
        return Err(CommandError::Route);
    }
    let mut request = RcptRequest { address, notify: None, orcpt: None };
    for (name, value) in Parameters::split(rest).ok_or(syntax)? {
        match name.as_str() {
            "NOTIFY" if context.extensions.dsn => {
                set_once(&mut request.notify, value.and_then(notify))?;
            }
            "ORCPT" if context.extensions.dsn => {
                set_once(&mut request.orcpt, value.and_then(orcpt))?;
            }
            _ => return Err(CommandError::ParameterUnknown),
        }
    }
    Ok(request)
}

/// What follows `FROM:` or `TO:`; blanks behind the colon are against RFC 5321 §3.3 and common.
fn after_keyword<'a>(arguments: &'a str, keyword: &str) -> Option<&'a str> {
    let (found, rest) = arguments.split_at_checked(keyword.len())?;
    found.eq_ignore_ascii_case(keyword).then(|| rest.trim_ascii_start())
}

/// The parameters behind a path: `NAME` in capitals, and the value if there is `=`.
struct Parameters<'a>(std::str::SplitAsciiWhitespace<'a>);

impl<'a> Parameters<'a> {
    /// None if something sticks to the path.
    fn split(rest: &'a str) -> Option<Self> {
        let apart = rest.is_empty() || rest.starts_with([' ', '\t']);
        apart.then(|| Self(rest.split_ascii_whitespace()))
    }
}

impl<'a> Iterator for Parameters<'a> {
    type Item = (String, Option<&'a str>);

    fn next(&mut self) -> Option<Self::Item> {
        let word = self.0.next()?;
        Some(match word.split_once('=') {
            Some((name, value)) => (name.to_ascii_uppercase(), Some(value)),
            None => (word.to_ascii_uppercase(), None),
        })
    }
}

/// RFC 5321 §4.1.1.11: a parameter must not come twice.
fn set_once<T>(place: &mut Option<T>, value: Option<T>) -> Result<(), CommandError> {
    if place.is_some() || value.is_none() {
        return Err(CommandError::Parameter);
    }
    *place = value;
    Ok(())
}

/// RFC 1870 §4: up to 20 digits. What does not fit in 64 bits is too large for anybody.
fn size(text: &str) -> Option<u64> {
    let digits = (1..=20).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_digit());
    digits.then(|| text.parse().unwrap_or(u64::MAX))
}

fn body(text: &str) -> Option<BodyType> {
    match text.to_ascii_uppercase().as_str() {
        "7BIT" => Some(BodyType::SevenBit),
        "8BITMIME" => Some(BodyType::EightBitMime),
        _ => None,
    }
}

fn ret(text: &str) -> Option<Ret> {
    match text.to_ascii_uppercase().as_str() {
        "FULL" => Some(Ret::Full),
        "HDRS" => Some(Ret::Headers),
        _ => None,
    }
}

/// RFC 3461 §4.4: xtext of at most 100 octets.
fn envid(text: &str) -> Option<String> {
    let fits = (1..=ENVID_BYTES_MAX).contains(&text.len()) && xtext::decode(text).is_some();
    fits.then(|| text.to_owned())
}

/// RFC 4954 §5: `<>` or a mailbox in xtext, at most 500 octets. Some servers write `<mailbox>`.
fn mail_auth(text: &str) -> Option<MailAuth> {
    if text == "<>" {
        return Some(MailAuth::Unknown);
    }
    let mailbox = xtext::decode_text(text)?;
    let fits = (1..=MAIL_AUTH_BYTES_MAX).contains(&text.len());
    fits.then_some(MailAuth::Mailbox(mailbox))
}

/// RFC 3461 §4.1: `NEVER`, or some of the others, each once.
fn notify(text: &str) -> Option<String> {
    let upper = text.to_ascii_uppercase();
    let words: Vec<&str> = upper.split(',').collect();
    let known = words.iter().all(|word| matches!(*word, "SUCCESS" | "FAILURE" | "DELAY"));
    let once = words.iter().enumerate().all(|(at, word)| !words[..at].contains(word));
    (upper == "NEVER" || (known && once)).then(|| text.to_owned())
}

/// RFC 3461 §4.2: the kind of address, `;`, xtext; at most 500 octets. RFC 6533 §3 has a coding of its own for `utf-8`.
fn orcpt(text: &str) -> Option<String> {
    let (kind, address) = text.split_once(';')?;
    let named = !kind.is_empty() && kind.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-');
    let coded = if kind.eq_ignore_ascii_case("utf-8") {
        !address.chars().any(|c| c.is_control() || c == '+' || c == '=')
    } else {
        xtext::decode(address).is_some()
    };
    let fits = named && coded && !address.is_empty() && text.len() <= ORCPT_BYTES_MAX;
    fits.then(|| text.to_owned())
}

const ENVID_BYTES_MAX: usize = 100;
const ORCPT_BYTES_MAX: usize = 500;
const MAIL_AUTH_BYTES_MAX: usize = 500;

#[cfg(test)]
mod tests {
    use super::*;

    fn everything() -> Extensions {
        Extensions {
            pipelining: true,
            size: Some(None),
            eight_bit_mime: true,
            smtputf8: true,
            enhanced_status_codes: true,
            dsn: true,
            starttls: false,
            auth: vec!["PLAIN".to_owned()],
        }
    }

    fn parse(line: &str, extensions: &Extensions) -> Result<Command, CommandError> {
        let mail_auth = if extensions.auth.is_empty() { Offer::No } else { Offer::Yes };
        let utf8_recipients = if extensions.smtputf8 { Offer::Yes } else { Offer::No };
        let (verb, arguments) = Verb::split(line.as_bytes());
        Command::parse(verb, arguments, &Context { extensions, mail_auth, utf8_recipients })
    }

    /// What is read is written again in its plain form.
    fn check(line: &str, written: &str) {
        let mut out = Vec::new();
        match parse(line, &everything()).unwrap_or_else(|error| panic!("{line}: {error}")) {
            Command::Mail(request) => write_mail(&request, &everything(), &mut out),
            Command::Rcpt(request) => write_rcpt(&request, &everything(), &mut out),
            other => panic!("{other:?}"),
        }
        assert_eq!(String::from_utf8(out).unwrap(), format!("{written}\r\n"));
    }

    fn check_wrong(line: &str, reply: &str) {
        let got = parse(line, &everything()).map_err(CommandError::reply);
        assert!(got.as_ref().is_err_and(|got| got.starts_with(reply)), "{line}: {got:?}");
    }

    #[test]
    fn mail_is_read_and_written() {
        check("MAIL FROM:<>", "MAIL FROM:<>");
        check("mail from: <a@b.example>  ", "MAIL FROM:<a@b.example>");
        check("MAIL FROM:<@x:a@b> size=10", "MAIL FROM:<a@b> SIZE=10");
        check(
            "MAIL FROM:<a@b> AUTH=e+3Dmc2@b ENVID=x+2By RET=hdrs SMTPUTF8 BODY=8bitmime SIZE=1",
            "MAIL FROM:<a@b> SIZE=1 BODY=8BITMIME SMTPUTF8 RET=HDRS ENVID=x+2By AUTH=e+3Dmc2@b",
        );
        check("MAIL FROM:<a@b> AUTH=<>", "MAIL FROM:<a@b> AUTH=<>");
        check("MAIL FROM:<é@b> SMTPUTF8", "MAIL FROM:<é@b> SMTPUTF8");
        check(
            "MAIL FROM:<a@b> SIZE=99999999999999999999",
            "MAIL FROM:<a@b> SIZE=18446744073709551615",
        );
    }

    #[test]
    fn rcpt_is_read_and_written() {
        check("RCPT TO:<a@b>", "RCPT TO:<a@b>");
        check("rcpt to: <\"a b\"@c>", "RCPT TO:<\"a b\"@c>");
        check(
            "RCPT TO:<a@b> ORCPT=rfc822;a+2Bx@b NOTIFY=success,DELAY",
            "RCPT TO:<a@b> NOTIFY=success,DELAY ORCPT=rfc822;a+2Bx@b",
        );
        check("RCPT TO:<a@b> NOTIFY=NEVER", "RCPT TO:<a@b> NOTIFY=NEVER");
    }

    #[test]
    fn parameters_are_written_only_where_they_are_offered() {
        let line = "MAIL FROM:<a@b> SIZE=1 BODY=7BIT SMTPUTF8 RET=FULL ENVID=x AUTH=<>";
        let Ok(Command::Mail(request)) = parse(line, &everything()) else { panic!() };
        let mut out = Vec::new();
        write_mail(&request, &Extensions::default(), &mut out);
        assert_eq!(out, b"MAIL FROM:<a@b>\r\n");
        let line = "RCPT TO:<a@b> NOTIFY=NEVER ORCPT=rfc822;a";
        let Ok(Command::Rcpt(request)) = parse(line, &everything()) else { panic!() };
        out.clear();
        write_rcpt(&request, &Extensions::default(), &mut out);
        assert_eq!(out, b"RCPT TO:<a@b>\r\n");
    }

    #[test]
    fn what_is_wrong_is_said() {
        for (line, reply) in [
            ("", "500 5.5.2"),
            ("LHLO x", "500 5.5.2"),
            ("MAILFROM:<a@b>", "500 5.5.2"),
            ("NOOP \u{1}", "500 5.5.2"),
            ("EXPN list", "502 5.5.1"),
            ("EHLO", "501 5.5.4"),
            ("VRFY", "501 5.5.4"),
            ("DATA now", "501 5.5.4"),
            ("STARTTLS now", "501 5.5.4"),
            ("AUTH", "501 5.5.4"),
            ("AUTH PLAIN a b", "501 5.5.4"),
            ("AUTH CRAM-MD5", "504 5.5.4"),
            ("XCLIENT", "501 5.5.4"),
            ("XFORWARD COLOUR=red", "501 5.5.4"),
            ("MAIL", "501 5.5.4"),
            ("MAIL TO:<a@b>", "501 5.5.4"),
            ("MAIL FROM:a@b", "501 5.1.7"),
            ("MAIL FROM:<a@b>SIZE=1", "501 5.1.7"),
            ("MAIL FROM:<é@b>", "553 5.6.7"),
            ("MAIL FROM:<a@b> SIZE", "501 5.5.4"),
            ("MAIL FROM:<a@b> SIZE=", "501 5.5.4"),
            ("MAIL FROM:<a@b> SIZE=-1", "501 5.5.4"),
            ("MAIL FROM:<a@b> SIZE=1 SIZE=2", "501 5.5.4"),
            ("MAIL FROM:<a@b> BODY=BINARYMIME", "501 5.5.4"),
            ("MAIL FROM:<a@b> SMTPUTF8=1", "501 5.5.4"),
            ("MAIL FROM:<a@b> SMTPUTF8 SMTPUTF8", "501 5.5.4"),
            ("MAIL FROM:<a@b> RET=ALL", "501 5.5.4"),
            ("MAIL FROM:<a@b> ENVID=a=b", "501 5.5.4"),
            ("MAIL FROM:<a@b> AUTH=a+0Ab", "501 5.5.4"),
            ("MAIL FROM:<a@b> COLOUR=red", "555 5.5.4"),
            ("RCPT TO:<>", "501 5.1.3"),
            ("RCPT TO:<postmaster>", "501 5.1.3"),
            ("RCPT FROM:<a@b>", "501 5.5.4"),
            ("RCPT TO:<a@b> SIZE=1", "555 5.5.4"),
            ("RCPT TO:<a@b> NOTIFY=NEVER,DELAY", "501 5.5.4"),
            ("RCPT TO:<a@b> NOTIFY=DELAY,DELAY", "501 5.5.4"),
            ("RCPT TO:<a@b> ORCPT=a@b", "501 5.5.4"),
            ("RCPT TO:<a@b> ORCPT=rfc822;", "501 5.5.4"),
        ] {
            check_wrong(line, reply);
        }
        let bad_utf8 = Command::parse(
            Verb::Mail,
            b"FROM:<\xff@b>",
            &Context {
                extensions: &everything(),
                mail_auth: Offer::No,
                utf8_recipients: Offer::No,
            },
        );
        assert_eq!(bad_utf8, Err(CommandError::NotText));
    }

    #[test]
    fn what_was_not_offered_is_unknown() {
        for parameter in ["SIZE=1", "BODY=7BIT", "SMTPUTF8", "RET=FULL", "ENVID=x", "AUTH=<>"] {
            let got = parse(&format!("MAIL FROM:<a@b> {parameter}"), &Extensions::default());
            assert_eq!(got, Err(CommandError::ParameterUnknown), "{parameter}");
        }
        let got = parse("RCPT TO:<a@b> NOTIFY=NEVER", &Extensions::default());
        assert_eq!(got, Err(CommandError::ParameterUnknown));
        let got = parse("RCPT TO:<é@b>", &Extensions::default());
        assert_eq!(got, Err(CommandError::Recipient(PathError::NotAscii)));
    }

    #[test]
    fn a_greeting_is_taken_from_whoever_comes() {
        for (line, name) in [
            ("EHLO mail.example", "mail.example"),
            ("ehlo [192.0.2.7]", "[192.0.2.7]"),
            ("EHLO [IPv6:::1]", "[IPv6:::1]"),
            ("EHLO Anna's\tMac", "Anna_s"),
            ("EHLO my_pc  ", "my_pc"),
            ("EHLO a<b>", "a_b_"),
            ("EHLO bücher.example", "b_cher.example"),
        ] {
            assert_eq!(
                parse(line, &everything()),
                Ok(Command::Ehlo(name.parse().unwrap())),
                "{line}"
            );
        }
    }

    #[test]
    fn verbs_are_told_apart() {
        for (line, verb) in [
            ("QUIT", Verb::Quit),
            ("quit ", Verb::Quit),
            ("GET / HTTP/1.1", Verb::Foreign),
            ("PROPFIND /x HTTP/1.1", Verb::Foreign),
            ("REGISTER sip:x SIP/2.0", Verb::Foreign),
            ("PRI * HTTP/2.0", Verb::Foreign),
            ("SSH-2.0-OpenSSH_10.0", Verb::Foreign),
            ("NOOP HTTP/1.1", Verb::Noop),
            ("get / http", Verb::Unknown),
            ("GETX", Verb::Unknown),
            ("starttls", Verb::StartTls),
            (" QUIT", Verb::Unknown),
        ] {
            assert_eq!(Verb::split(line.as_bytes()).0, verb, "{line}");
        }
    }
}
