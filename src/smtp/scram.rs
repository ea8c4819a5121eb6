//! The server's side of SCRAM-SHA-256's messages (RFC 5802 §7, RFC 7677): reading the client's, writing ours.
//!
//! Here are words only: salts, keys and randomness come from whoever answers the session's asks, and so does the verdict on
//! the proof. Channel binding is not offered, so a client that demands it (`p=`) is refused and one that merely could (`y`)
//! is served. Input comes out of [`super::sasl`], already out of its base64.

use super::{
    sasl::{CREDENTIAL_BYTES_MAX, SaslError},
    server::{Credential, LoginRequest, Mechanism},
};
use base64::{Engine, engine::general_purpose::STANDARD};

/// A client-first-message.
#[derive(Debug)]
pub struct ClientFirst {
    /// Whom the client wants to act as, where it says so.
    authorization: Option<String>,
    login: String,
    /// What the client's next message must repeat in base64.
    gs2_header: Box<str>,
    bare: Box<str>,
    nonce: Box<str>,
}

/// What the server has to say before a proof can be made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ScramParameters {
    /// The server's part of the nonce: printable ASCII without a comma, fresh for each exchange.
    pub nonce: String,
    /// The salt of the stored keys.
    pub salt: Vec<u8>,
    /// How often the password was hashed.
    pub iterations: u32,
}

/// A client's proof that it knows the password, and what it is about.
#[derive(Debug)]
pub struct ScramProof {
    /// What both sides sign: `AuthMessage` of RFC 5802 §3.
    pub auth_message: Box<str>,
    /// `ClientProof`.
    pub proof: [u8; KEY_BYTES],
}

/// An exchange whose server-first-message is out.
#[derive(Debug)]
pub struct Challenged {
    first: ClientFirst,
    /// Both parts.
    nonce: Box<str>,
    server_first: Box<str>,
}

impl ClientFirst {
    /// Reads `gs2-header [reserved-mext ","] username "," nonce ["," extensions]`.
    ///
    /// # Errors
    /// [`SaslError`] if it is something else, demands channel binding, or is too long.
    pub fn parse(octets: &[u8]) -> Result<Self, SaslError> {
        let text = str::from_utf8(octets).map_err(|_| SaslError::Malformed)?;
        let mut parts = text.splitn(3, ',');
        let mut next = || parts.next().ok_or(SaslError::Malformed);
        let (flag, authorization, bare) = (next()?, next()?, next()?);
        check_binding(flag)?;
        let authorization = match authorization {
            "" => None,
            named => Some(name(named.strip_prefix("a=").ok_or(SaslError::Malformed)?)?),
        };
        let mut attributes = bare.split(',');
        let login = value(attributes.next(), "n=")?;
        let nonce = value(attributes.next(), "r=")?;
        if !attributes.all(is_extension) {
            return Err(SaslError::Malformed);
        }
        Ok(Self {
            authorization,
            login: prepared(&name(login)?)?,
            gs2_header: text[..text.len() - bare.len()].into(),
            bare: bare.into(),
            nonce: checked_nonce(nonce)?.into(),
        })
    }

    /// Whose password is to be proven.
    #[must_use]
    pub fn login(&self) -> &str {
        &self.login
    }

    /// The server-first-message, and the exchange that waits for the answer to it.
    #[must_use]
    pub fn challenge(self, parameters: &ScramParameters) -> (Challenged, String) {
        let nonce = format!("{}{}", self.nonce, parameters.nonce);
        let salt = STANDARD.encode(&parameters.salt);
        let server_first = format!("r={nonce},s={salt},i={}", parameters.iterations);
        let message = STANDARD.encode(&server_first);
        let challenged =
            Challenged { first: self, nonce: nonce.into(), server_first: server_first.into() };
        (challenged, message)
    }
}

impl Challenged {
    /// Reads `channel-binding "," nonce ["," extensions] "," proof`, the client-final-message.
    ///
    /// # Errors
    /// [`SaslError::Malformed`] if it is something else, or does not belong to this exchange.
    pub fn finish(self, octets: &[u8]) -> Result<LoginRequest, SaslError> {
        let text = str::from_utf8(octets).map_err(|_| SaslError::Malformed)?;
        let (unproven, proof) = text.rsplit_once(",p=").ok_or(SaslError::Malformed)?;
        let mut attributes = unproven.split(',');
        let binding = value(attributes.next(), "c=")?;
        let nonce = value(attributes.next(), "r=")?;
        let ours = binding == STANDARD.encode(&*self.first.gs2_header) && *nonce == *self.nonce;
        if !ours || !attributes.all(is_extension) {
            return Err(SaslError::Malformed);
        }
        let proof = STANDARD.decode(proof).map_err(|_| SaslError::Malformed)?;
        let proof = proof.try_into().map_err(|_| SaslError::Malformed)?;
        let auth_message = format!("{},{},{unproven}", self.first.bare, self.server_first).into();
        Ok(LoginRequest {
            mechanism: Mechanism::ScramSha256,
            authorization: self.first.authorization,
            login: self.first.login,
            credential: Credential::Scram(ScramProof { auth_message, proof }),
        })
    }
}

/// The server-final-message in base64: our own proof, in whose light the client believes us.
#[must_use]
pub fn server_final(signature: &[u8; KEY_BYTES]) -> String {
    STANDARD.encode(format!("v={}", STANDARD.encode(signature)))
}

/// RFC 5802 §6: `n` (the client cannot), `y` (it believes that we cannot, and is right), `p=` (it insists).
fn check_binding(flag: &str) -> Result<(), SaslError> {
    match flag {
        "n" | "y" => Ok(()),
        _ if flag.starts_with("p=") => Err(SaslError::ChannelBinding),
        _ => Err(SaslError::Malformed),
    }
}

fn value<'t>(attribute: Option<&'t str>, prefix: &str) -> Result<&'t str, SaslError> {
    attribute.and_then(|text| text.strip_prefix(prefix)).ok_or(SaslError::Malformed)
}

/// RFC 5802 §5.1: unknown attributes at the end are passed over.
fn is_extension(attribute: &str) -> bool {
    let octets = attribute.as_bytes();
    octets.len() > 2 && octets[0].is_ascii_alphabetic() && octets[1] == b'='
}

/// A `saslname`: `=2C` stands for a comma, `=3D` for an equals sign, and no other `=` may stand there.
fn name(text: &str) -> Result<String, SaslError> {
    let mut pieces = text.split('=');
    let mut plain = pieces.next().unwrap_or_default().to_owned();
    for piece in pieces {
        let (sign, rest) = match piece.as_bytes() {
            [b'2', b'C', ..] => (',', &piece[2..]),
            [b'3', b'D', ..] => ('=', &piece[2..]),
            _ => return Err(SaslError::Malformed),
        };
        plain.push(sign);
        plain.push_str(rest);
    }
    match plain.len() {
        0 => Err(SaslError::Malformed),
        1..=CREDENTIAL_BYTES_MAX if plain.chars().any(char::is_control) => {
            Err(SaslError::Malformed)
        }
        1..=CREDENTIAL_BYTES_MAX => Ok(plain),
        _ => Err(SaslError::TooLong),
    }
}

/// RFC 5802 §5.1: a name that SASLprep refuses, or makes empty, ends the exchange.
fn prepared(name: &str) -> Result<String, SaslError> {
    match stringprep::saslprep(name) {
        Ok(prepared) if !prepared.is_empty() => Ok(prepared.into_owned()),
        _ => Err(SaslError::Malformed),
    }
}

/// RFC 5802 §7 `c-nonce`: printable ASCII without a comma.
fn checked_nonce(nonce: &str) -> Result<&str, SaslError> {
    match nonce.len() {
        1..=NONCE_BYTES_MAX if nonce.bytes().all(|byte| byte.is_ascii_graphic()) => Ok(nonce),
        0..=NONCE_BYTES_MAX => Err(SaslError::Malformed),
        _ => Err(SaslError::TooLong),
    }
}

/// The octets of a key, a proof and a signature (SHA-256).
pub const KEY_BYTES: usize = 32;
/// The longest nonce of a client; they are about 24 octets long.
const NONCE_BYTES_MAX: usize = 256;

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 7677 §3.
    const FIRST: &str = "n,,n=user,r=rOprNGfwEbeRWgbNEkqO";
    const SERVER_FIRST: &str =
        "r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096";
    const NONCE: &str = "r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0";
    const PROOF: &str = "p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=";

    fn challenged(first: &str) -> Challenged {
        let parameters = ScramParameters {
            nonce: "%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0".to_owned(),
            salt: STANDARD.decode("W22ZaJ0SNY7soEsUEjb6gQ==").unwrap(),
            iterations: 4096,
        };
        let (challenged, message) =
            ClientFirst::parse(first.as_bytes()).unwrap().challenge(&parameters);
        assert_eq!(message, STANDARD.encode(SERVER_FIRST));
        challenged
    }

    #[test]
    fn the_exchange_of_rfc_7677_is_understood() {
        let last = format!("c=biws,{NONCE},{PROOF}");
        let request = challenged(FIRST).finish(last.as_bytes()).unwrap();
        assert_eq!((&*request.login, request.authorization), ("user", None));
        let Credential::Scram(ScramProof { auth_message, proof }) = request.credential else {
            panic!("not a proof");
        };
        let bare = "n=user,r=rOprNGfwEbeRWgbNEkqO";
        assert_eq!(*auth_message, format!("{bare},{SERVER_FIRST},c=biws,{NONCE}"));
        assert_eq!(format!("p={}", STANDARD.encode(proof)), PROOF);
        assert_eq!(
            server_final(
                STANDARD
                    .decode("6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=")
                    .unwrap()
                    .first_chunk()
                    .unwrap()
            ),
            STANDARD.encode("v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=")
        );
    }

    #[test]
    fn first_messages_are_read_or_refused() {
        for (message, expected) in [
            ("n,,n=user,r=abc", "|user"),
            ("y,,n=user,r=abc", "|user"),
            ("n,a=admin,n=user,r=abc", "admin|user"),
            ("n,a==3Dx=2C,n=a=2Cb=3D,r=abc", "=x,|a,b="),
            ("n,,n=us\u{ad}er,r=abc", "|user"),
            ("n,,n=\u{2168},r=abc", "|IX"),
            ("n,,n=user,r=abc,x=some,Y=a=b", "|user"),
            ("p=tls-exporter,,n=user,r=abc", "ChannelBinding"),
            ("p=,,n=user,r=abc", "ChannelBinding"),
            ("", "Malformed"),
            ("n", "Malformed"),
            ("n,,", "Malformed"),
            ("z,,n=user,r=abc", "Malformed"),
            ("N,,n=user,r=abc", "Malformed"),
            ("n,admin,n=user,r=abc", "Malformed"),
            ("n,a=,n=user,r=abc", "Malformed"),
            ("n,,m=x,n=user,r=abc", "Malformed"),
            ("n,,r=abc,n=user", "Malformed"),
            ("n,,n=,r=abc", "Malformed"),
            ("n,,n=user", "Malformed"),
            ("n,,n=user,r=", "Malformed"),
            ("n,,n=user,r=a b", "Malformed"),
            ("n,,n=user,r=abc,", "Malformed"),
            ("n,,n=user,r=abc,x", "Malformed"),
            ("n,,n=us=er,r=abc", "Malformed"),
            ("n,,n=us=2,r=abc", "Malformed"),
            ("n,,n=us=2cer,r=abc", "Malformed"),
            ("n,,n=us\0er,r=abc", "Malformed"),
            ("n,,n=us\ner,r=abc", "Malformed"),
            ("n,,n=\u{ad},r=abc", "Malformed"),
            ("n,,n=\u{627}1,r=abc", "Malformed"),
        ] {
            let got = match ClientFirst::parse(message.as_bytes()) {
                Ok(ClientFirst { authorization, login, .. }) => {
                    format!("{}|{login}", authorization.unwrap_or_default())
                }
                Err(error) => format!("{error:?}"),
            };
            assert_eq!(got, expected, "{message:?}");
        }
        for (long, error) in [
            (format!("n,,n={},r=abc", "x".repeat(1025)), SaslError::TooLong),
            (format!("n,,n=user,r={}", "x".repeat(257)), SaslError::TooLong),
        ] {
            assert_eq!(ClientFirst::parse(long.as_bytes()).unwrap_err(), error);
        }
        assert_eq!(ClientFirst::parse(b"n,,n=\xff,r=a").unwrap_err(), SaslError::Malformed);
    }

    #[test]
    fn last_messages_belong_to_their_exchange_or_are_refused() {
        for (first, last, right) in [
            (FIRST, format!("c=biws,{NONCE},{PROOF}"), true),
            (FIRST, format!("c=biws,{NONCE},x=more,{PROOF}"), true),
            (FIRST, format!("c=eSws,{NONCE},{PROOF}"), false),
            (&FIRST.replacen('n', "y", 1), format!("c=eSws,{NONCE},{PROOF}"), true),
            (&FIRST.replacen('n', "y", 1), format!("c=biws,{NONCE},{PROOF}"), false),
            (FIRST, format!("c=biws,{NONCE}x,{PROOF}"), false),
            (FIRST, format!("c=biws,r=rOprNGfwEbeRWgbNEkqO,{PROOF}"), false),
            (FIRST, format!("{NONCE},c=biws,{PROOF}"), false),
            (FIRST, format!("c=biws,{NONCE}"), false),
            (FIRST, format!("c=biws,{NONCE},p="), false),
            (FIRST, format!("c=biws,{NONCE},p=AAAA"), false),
            (FIRST, format!("c=biws,{NONCE},{PROOF}="), false),
            (FIRST, format!("c=biws,{NONCE},{PROOF},x=more"), false),
            (FIRST, format!("c=biws,{NONCE},,{PROOF}"), false),
            (FIRST, String::new(), false),
        ] {
            let got = challenged(first).finish(last.as_bytes());
            assert_eq!(got.is_ok(), right, "{first} {last}");
        }
    }

    proptest::proptest! {
        #[test]
        fn no_message_panics(
            octets in proptest::collection::vec(0_u8.., 0..100),
            text in "[nyp],(a=)?[=,2C3Da-c]{0,6},n=[=,2C3Da-c]{0,6},r=[!-~]{0,4}.{0,8}",
        ) {
            for message in [&octets[..], text.as_bytes()] {
                let _ = ClientFirst::parse(message);
                let _ = challenged(FIRST).finish(message);
            }
        }
    }
}
