//! XCLIENT and XFORWARD. What is claimed is short and has nothing in it that ends a line; written again it is read as the same;
//! xtext goes there and back.

#![no_main]

use libfuzzer_sys::fuzz_target;
use tollgate::smtp::{
    xclient::{Attributes, ClientClaim, Kind, Source},
    xtext,
};

fuzz_target!(|input: (bool, &str)| {
    let (is_xclient, text) = input;
    let kind = if is_xclient { Kind::Xclient } else { Kind::Xforward };
    check_xtext(text);
    let Ok(attributes) = Attributes::parse(kind, text) else { return };
    let mut claim = ClientClaim::default();
    attributes.apply(&mut claim);
    check_claim(kind, &claim);
    let line = written(&claim);
    if !line.is_empty() {
        let mut again = ClientClaim::default();
        Attributes::parse(kind, &line).expect("what was read can be written").apply(&mut again);
        assert_eq!(again, claim, "{line}");
    }
});

fn check_claim(kind: Kind, claim: &ClientClaim) {
    for value in
        [&claim.name, &claim.helo, &claim.proto, &claim.login, &claim.ident].into_iter().flatten()
    {
        assert!((1..=255).contains(&value.len()) && !value.contains(char::is_control), "{value:?}");
    }
    match kind {
        Kind::Xclient => assert!(claim.ident.is_none() && claim.source.is_none()),
        Kind::Xforward => {
            assert!(claim.login.is_none() && claim.dest_addr.is_none() && claim.dest_port.is_none())
        }
    }
}

fn written(claim: &ClientClaim) -> String {
    let source = claim.source.map(|source| match source {
        Source::Local => "LOCAL".to_owned(),
        Source::Remote => "REMOTE".to_owned(),
    });
    let values = [
        ("ADDR", claim.addr.map(|addr| addr.to_string())),
        ("PORT", claim.port.map(|port| port.to_string())),
        ("NAME", claim.name.clone()),
        ("HELO", claim.helo.clone()),
        ("PROTO", claim.proto.clone()),
        ("LOGIN", claim.login.clone()),
        ("DESTADDR", claim.dest_addr.map(|addr| addr.to_string())),
        ("DESTPORT", claim.dest_port.map(|port| port.to_string())),
        ("IDENT", claim.ident.clone()),
        ("SOURCE", source),
    ];
    let word = |(name, value): (&str, Option<String>)| {
        Some(format!("{name}={}", encoded(value?.as_bytes())))
    };
    values.into_iter().filter_map(word).collect::<Vec<_>>().join(" ")
}

fn check_xtext(text: &str) {
    assert_eq!(xtext::decode(&encoded(text.as_bytes())).as_deref(), Some(text.as_bytes()));
    if let Some(octets) = xtext::decode(text) {
        assert!(octets.len() <= text.len());
        assert_eq!(xtext::decode(&encoded(&octets)), Some(octets));
    }
    if let Some(decoded) = xtext::decode_text(text) {
        assert!(!decoded.contains(char::is_control), "{decoded:?}");
    }
}

fn encoded(octets: &[u8]) -> String {
    let mut out = Vec::new();
    xtext::encode(octets, &mut out);
    let text = String::from_utf8(out).expect("xtext is ASCII");
    assert!(text.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'='), "{text}");
    text
}
