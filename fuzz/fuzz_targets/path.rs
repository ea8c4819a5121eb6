//! Addresses. What is read stands in the text as it was written, is short, has nothing in it that could end a command, a reply
//! or a log line, and is read as the same again; with SMTPUTF8 nothing that was read without it is read otherwise.

#![no_main]

use libfuzzer_sys::fuzz_target;
use tollgate::{
    smtp::{
        command::Offer,
        path::{PathError, parse_path},
    },
    types::{Address, Domain, ReversePath},
};

fuzz_target!(|text: &str| {
    let ascii = parse_path(text, Offer::No);
    let utf8 = parse_path(text, Offer::Yes);
    assert!(ascii == utf8 || ascii == Err(PathError::NotAscii), "{ascii:?} {utf8:?}");
    if let Ok((path, rest)) = utf8 {
        check_path(text, &path, rest);
    }
    if let Ok(address) = text.parse::<Address>() {
        check_address(&address);
        assert_eq!(address.as_str(), text);
    }
    if let Ok(domain) = text.parse::<Domain>() {
        let odd = |c: char| c.is_control() || c.is_whitespace() || "<>@\"\\".contains(c);
        assert!(domain.as_str() == text && text.len() <= 255 && !text.contains(odd), "{text:?}");
    }
});

fn check_path(text: &str, path: &ReversePath, rest: &str) {
    let written = path.to_string();
    let before = text.strip_suffix(rest).and_then(|before| before.strip_suffix('>'));
    assert!(before.is_some_and(|before| before.ends_with(&written)), "{written} of {text:?}");
    assert_eq!(parse_path(&format!("<{written}>"), Offer::Yes), Ok((path.clone(), "")));
    let Some(address) = path.address() else { return };
    check_address(address);
    assert_eq!(written, format!("{}@{}", address.local(), address.domain()));
    let is_quoted = address.local().starts_with('"');
    assert!(
        is_quoted
            || !address.local().contains([' ', '<', '>', '@', ',', ';', ':', '(', ')', '\\', '"'])
    );
    // Printed in logs and passed on in commands: what another parser takes for the end must not stand outside of quotes.
    assert!(!address.domain().contains(|c: char| c.is_whitespace() || "<>@,;()\\\"".contains(c)));
}

fn check_address(address: &Address) {
    assert!(!address.as_str().contains(char::is_control), "{address:?}");
    assert!(
        (1..=64).contains(&address.local().len()) && (1..=255).contains(&address.domain().len())
    );
    assert_eq!(address.needs_smtputf8(), !address.as_str().is_ascii());
    assert_eq!(address.as_str().parse::<Address>().as_ref(), Ok(address));
}
