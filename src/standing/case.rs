//! Case ids: random, short enough to be read out on the telephone, `TG-7K3M-92QX`.

use crate::{store::StoreError, types::CaseId};

/// Draws a new case id of 40 random bits.
///
/// # Errors
/// [`StoreError::Unavailable`] if the system has no random numbers.
pub fn draw() -> Result<CaseId, StoreError> {
    let failed = |why: String| StoreError::Unavailable(format!("draw a case: {why}"));
    let mut octets = [0u8; LETTERS];
    getrandom::fill(&mut octets).map_err(|error| failed(error.to_string()))?;
    spell(octets).parse().map_err(|error: crate::types::ParseError| failed(error.to_string()))
}

/// Each octet gives one letter by its lowest five bits, so that all 32 are equally likely.
fn spell(octets: [u8; LETTERS]) -> String {
    let mut text = String::from("TG");
    for (index, octet) in octets.into_iter().enumerate() {
        if index % GROUP == 0 {
            text.push('-');
        }
        text.push(char::from(ALPHABET[usize::from(octet % 32)]));
    }
    text
}

const LETTERS: usize = 8;
const GROUP: usize = 4;
/// Crockford's base 32: no I, L, O, U, which are misread or spell words.
const ALPHABET: &[u8; 32] = b"0123456789ABCDEFGHJKMNPQRSTVWXYZ";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_case_can_be_read_out() {
        assert_eq!(spell([0, 1, 31, 32, 255, 18, 19, 20]), "TG-01Z0-ZJKM");
        assert_ne!(draw().unwrap(), draw().unwrap());
    }
}
