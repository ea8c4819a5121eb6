//! Where words begin, looked for in sixty-four octets at a time.

/// Tells where in a text each word begins. A word is a run of letters and digits; whatever is not ASCII counts as a letter.
pub fn each_word_begin(text: &[u8], mut act: impl FnMut(usize)) {
    let (blocks, rest) = text.as_chunks::<BLOCK>();
    let mut tail = [b' '; BLOCK];
    tail[..rest.len()].copy_from_slice(rest);
    let (mut at, mut goes_on) = (0, 0);
    for block in blocks.iter().chain([&tail]) {
        let words = words_of(block);
        let mut begins = words & !(words << 1 | goes_on);
        while begins != 0 {
            act(at + begins.trailing_zeros() as usize);
            begins &= begins - 1;
        }
        goes_on = words >> (BLOCK - 1);
        at += BLOCK;
    }
}

/// True of octets that go on with a word.
#[must_use]
pub const fn is_of_word(octet: u8) -> bool {
    (octet | 0x20).wrapping_sub(b'a') < 26 || octet.wrapping_sub(b'0') < 10 || octet >= 0x80
}

/// One bit for each octet, that of the first being the lowest: is it of a word?
fn words_of(block: &[u8; BLOCK]) -> u64 {
    // Without a branch, so that processors do many octets at a time.
    let mut marks = [0_u8; BLOCK];
    for (mark, octet) in marks.iter_mut().zip(block) {
        let is_letter = u8::from((octet | 0x20).wrapping_sub(b'a') < 26);
        let is_digit = u8::from(octet.wrapping_sub(b'0') < 10);
        *mark = is_letter | is_digit | octet >> 7;
    }
    let (eights, _) = marks.as_chunks::<8>();
    // The product has the lowest bit of each octet side by side in its highest octet.
    let gathered = |eight: &[u8; 8]| u64::from_le_bytes(*eight).wrapping_mul(0x0102_0408_1020_4080);
    eights.iter().rev().fold(0, |bits, eight| bits << 8 | gathered(eight) >> 56)
}

const BLOCK: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Octet by octet.
    fn begins_of(text: &[u8]) -> Vec<usize> {
        let begins = |at: &usize| {
            is_of_word(text[*at]) && !at.checked_sub(1).is_some_and(|last| is_of_word(text[last]))
        };
        (0..text.len()).filter(begins).collect()
    }

    proptest! {
        #[test]
        fn words_begin_where_they_do_octet_by_octet(text in "(é|[ -~\t\r\n]{0,9}|[a-z]{60,70}){0,40}") {
            let mut found = Vec::new();
            each_word_begin(text.as_bytes(), |at| found.push(at));
            prop_assert_eq!(found, begins_of(text.as_bytes()));
        }
    }

    #[test]
    fn letters_digits_and_what_is_not_ascii_are_of_words() {
        for octet in 0..=u8::MAX {
            let is_of = octet.is_ascii_alphanumeric() || !octet.is_ascii();
            assert_eq!(is_of_word(octet), is_of, "{octet}");
        }
    }
}
