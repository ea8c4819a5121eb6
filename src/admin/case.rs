//! Case ids: random, short enough to be read out on the telephone, `TG-7K3M-92QX`.

use super::AdminError;
use crate::types::CaseId;

/// Draws a new case id of 40 random bits.
pub(super) fn draw() -> Result<CaseId, AdminError> {
    let mut octets = [0u8; LETTERS];
    getrandom::fill(&mut octets).map_err(AdminError::Random)?;
    let text = spell(octets);
    text.parse().map_err(|error| AdminError::Invalid(format!("a case id: {error}")))
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
