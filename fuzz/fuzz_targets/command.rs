//! Command lines. What is read of MAIL and RCPT and written for a next hop is one line, no longer than it came, and is read
//! as the same again; what is not obeyed has a documented reply.

#![no_main]

use libfuzzer_sys::fuzz_target;
use tollgate::smtp::{
    Extensions, MailRequest, RcptRequest,
    command::{Command, CommandError, Context, Offer, Verb, write_mail, write_rcpt},
};
use tollgate_fuzz::{extensions, replies};

fuzz_target!(|input: (u8, u8, &[u8])| {
    let (ours, theirs, line) = input;
    let (ours, theirs) = (extensions(ours), extensions(theirs));
    match read(line, &ours) {
        Ok(Command::Mail(request)) => check_mail(&request, line, &ours, &theirs),
        Ok(Command::Rcpt(request)) => check_rcpt(&request, line, &ours, &theirs),
        Ok(Command::Helo(name) | Command::Ehlo(name)) => {
            assert!(!name.as_str().contains(|c: char| c.is_control() || c.is_whitespace()));
        }
        Ok(_) => {}
        Err(error) => assert!(replies::is_documented(error.reply()), "{}", error.reply()),
    }
});

fn read(line: &[u8], offered: &Extensions) -> Result<Command, CommandError> {
    let (verb, arguments) = Verb::split(line);
    let mail_auth = if offered.auth.is_empty() { Offer::No } else { Offer::Yes };
    let utf8_recipients = if offered.smtputf8 { Offer::Yes } else { Offer::No };
    Command::parse(verb, arguments, &Context { extensions: offered, mail_auth, utf8_recipients })
}

fn check_mail(request: &MailRequest, line: &[u8], ours: &Extensions, theirs: &Extensions) {
    let write = |offered| written(|out| write_mail(request, offered, out), line);
    assert_eq!(read(&write(ours), ours), Ok(Command::Mail(request.clone())));
    let passed = MailRequest {
        size: request.size.filter(|_| theirs.size.is_some()),
        body: request.body.filter(|_| theirs.eight_bit_mime),
        smtputf8: request.smtputf8 && theirs.smtputf8,
        ret: request.ret.filter(|_| theirs.dsn),
        envid: request.envid.clone().filter(|_| theirs.dsn),
        auth: request.auth.clone().filter(|_| !theirs.auth.is_empty()),
        ..request.clone()
    };
    let again = read(&write(theirs), theirs);
    let is_ascii = request.sender.address().is_none_or(|address| !address.needs_smtputf8());
    // Whether such an address may go to a hop without SMTPUTF8 is not for the writer to say.
    assert!(again == Ok(Command::Mail(passed)) || !(is_ascii || theirs.smtputf8), "{again:?}");
}

fn check_rcpt(request: &RcptRequest, line: &[u8], ours: &Extensions, theirs: &Extensions) {
    let write = |offered| written(|out| write_rcpt(request, offered, out), line);
    assert_eq!(read(&write(ours), ours), Ok(Command::Rcpt(request.clone())));
    let passed = RcptRequest {
        notify: request.notify.clone().filter(|_| theirs.dsn),
        orcpt: request.orcpt.clone().filter(|_| theirs.dsn),
        ..request.clone()
    };
    let again = read(&write(theirs), theirs);
    let is_ascii = !request.address.needs_smtputf8();
    assert!(again == Ok(Command::Rcpt(passed)) || !(is_ascii || theirs.smtputf8), "{again:?}");
}

/// The line without its CRLF.
fn written(write: impl FnOnce(&mut Vec<u8>), line: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    write(&mut out);
    let text = out.strip_suffix(b"\r\n").expect("a line ends with CRLF");
    assert!(!text.iter().any(u8::is_ascii_control), "{}", text.escape_ascii());
    assert!(
        text.len() <= line.len(),
        "longer than {}: {}",
        line.escape_ascii(),
        text.escape_ascii()
    );
    text.to_vec()
}
