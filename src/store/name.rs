//! The text of a key inside its cell: usual keys lie in the cell itself, which saves an allocation and a cache miss for
//! each decision; longer ones are on the heap.

/// A text that is compared by its octets.
#[derive(Debug)]
pub(super) enum Name {
    /// At most [`SHORT_MAX`] octets.
    Short { length: u8, octets: [u8; SHORT_MAX] },
    /// More.
    Long(Box<str>),
}

impl Name {
    pub(super) fn new(text: &str) -> Self {
        match u8::try_from(text.len()) {
            Ok(length) if text.len() <= SHORT_MAX => {
                let mut octets = [0; SHORT_MAX];
                octets[..text.len()].copy_from_slice(text.as_bytes());
                Self::Short { length, octets }
            }
            _ => Self::Long(text.into()),
        }
    }

    pub(super) fn octets(&self) -> &[u8] {
        match self {
            Self::Short { length, octets } => &octets[..usize::from(*length)],
            Self::Long(text) => text.as_bytes(),
        }
    }

    pub(super) fn as_str(&self) -> &str {
        // The octets are those of a text, so nothing is ever lost here.
        std::str::from_utf8(self.octets()).unwrap_or_default()
    }
}

/// With it a cell fills two cache lines: `account/r/` and an address of 36 octets.
const SHORT_MAX: usize = 46;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_the_text_it_was_made_from() {
        for length in [0, 1, 45, 46, 47, 255, 256, 400] {
            let text = "ä".repeat(length / 2) + &"x".repeat(length % 2);
            assert_eq!(Name::new(&text).as_str(), text, "{length}");
        }
        assert_eq!(size_of::<Name>(), 48);
    }
}
