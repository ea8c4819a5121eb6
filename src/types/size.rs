//! Sizes in octets.

use super::ParseError;
use std::{fmt, str::FromStr};

/// A number of octets; read from `104857600`, `64 KiB`, `100 MiB`, `10 GB` (decimal and binary units are told apart).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct ByteCount(u64);

impl ByteCount {
    /// Makes a size from octets.
    #[must_use]
    pub const fn new(octets: u64) -> Self {
        Self(octets)
    }

    /// The octets.
    #[must_use]
    pub const fn octets(self) -> u64 {
        self.0
    }

    /// For people, in decimal units as packages are sold: `9.98 GB`, `512 octets`. Rounded down, so that what is not full does not
    /// look so.
    #[must_use]
    pub fn in_words(self) -> String {
        let units =
            [("TB", 1_000_000_000_000), ("GB", 1_000_000_000), ("MB", 1_000_000), ("kB", 1_000)];
        match units.into_iter().find(|(_, size)| self.0 >= *size) {
            Some((unit, size)) => {
                let hundredths = self.0 % size / (size / 100);
                format!("{}.{hundredths:02} {unit}", self.0 / size)
            }
            None => format!("{} octets", self.0),
        }
    }

    /// The octets as a size in memory, at most `usize::MAX`.
    #[must_use]
    pub fn in_memory(self) -> usize {
        usize::try_from(self.0).unwrap_or(usize::MAX)
    }
}

impl fmt::Display for ByteCount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

impl FromStr for ByteCount {
    type Err = ParseError;

    fn from_str(text: &str) -> Result<Self, ParseError> {
        let wrong = || ParseError::new(text, "a size such as 104857600, 64 KiB, 100 MiB or 10 GB");
        let trimmed = text.trim();
        let digits = trimmed.find(|c: char| !c.is_ascii_digit()).unwrap_or(trimmed.len());
        let (number, unit) = trimmed.split_at(digits);
        let factor: u64 = match unit.trim() {
            "" | "B" => 1,
            "KiB" => 1 << 10,
            "MiB" => 1 << 20,
            "GiB" => 1 << 30,
            "TiB" => 1 << 40,
            "kB" | "KB" => 1_000,
            "MB" => 1_000_000,
            "GB" => 1_000_000_000,
            "TB" => 1_000_000_000_000,
            _ => return Err(wrong()),
        };
        let number: u64 = number.parse().map_err(|_| wrong())?;
        number.checked_mul(factor).map(Self).ok_or_else(wrong)
    }
}

impl serde::Serialize for ByteCount {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_u64(self.0)
    }
}

impl<'de> serde::Deserialize<'de> for ByteCount {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(SizeVisitor)
    }
}

struct SizeVisitor;

impl serde::de::Visitor<'_> for SizeVisitor {
    type Value = ByteCount;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a number of octets, or a text such as \"100 MiB\"")
    }

    fn visit_u64<E: serde::de::Error>(self, octets: u64) -> Result<ByteCount, E> {
        Ok(ByteCount(octets))
    }

    fn visit_i64<E: serde::de::Error>(self, octets: i64) -> Result<ByteCount, E> {
        let wrong = |_| E::invalid_value(serde::de::Unexpected::Signed(octets), &self);
        u64::try_from(octets).map(ByteCount).map_err(wrong)
    }

    fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<ByteCount, E> {
        text.parse().map_err(E::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_told_in_decimal_units_rounded_down() {
        for (octets, words) in [
            (0, "0 octets"),
            (999, "999 octets"),
            (1_000, "1.00 kB"),
            (9_999_999_999, "9.99 GB"),
            (10_000_000_000, "10.00 GB"),
            (u64::MAX, "18446744.07 TB"),
        ] {
            assert_eq!(ByteCount::new(octets).in_words(), words);
        }
    }

    #[test]
    fn sizes_are_read_in_binary_and_decimal_units() {
        for (text, octets) in [
            ("0", 0),
            ("104857600", 104_857_600),
            ("100 MiB", 104_857_600),
            ("10GB", 10_000_000_000),
            ("128KiB", 131_072),
        ] {
            assert_eq!(text.parse::<ByteCount>().unwrap().octets(), octets, "{text}");
        }
        for wrong in ["", "-1", "1.5 MB", "10 mb", "18446744073709551615 KiB"] {
            assert!(wrong.parse::<ByteCount>().is_err(), "{wrong}");
        }
    }
}
