//! Which keys of the file were changed, for the audit: their names, and never what they are set to, because that may be a
//! password.

use std::{collections::BTreeMap, fmt};

/// The keys of a configuration file with what they are set to: `plan.shared-hosting.mode`. A list is one value.
#[derive(Clone, Default)]
pub(super) struct Keys(BTreeMap<String, toml::Value>);

impl Keys {
    /// The keys of a text that is known to be TOML.
    pub(super) fn of(text: &str) -> Self {
        let mut keys = Self::default();
        if let Ok(table) = text.parse::<toml::Table>() {
            keys.add("", table);
        }
        keys
    }

    fn add(&mut self, prefix: &str, table: toml::Table) {
        for (name, value) in table {
            let name = if prefix.is_empty() { name } else { format!("{prefix}.{name}") };
            match value {
                toml::Value::Table(table) => self.add(&name, table),
                value => drop(self.0.insert(name, value)),
            }
        }
    }

    /// The keys that are not the same as in another file, or in only one of the two.
    pub(super) fn changed_since(&self, before: &Self) -> Vec<String> {
        let differs = |(name, value): &(&String, &toml::Value)| before.0.get(*name) != Some(value);
        let changed = self.0.iter().filter(differs).map(|(name, _)| name);
        let gone = before.0.keys().filter(|name| !self.0.contains_key(*name));
        let mut names: Vec<String> = changed.chain(gone).cloned().collect();
        names.sort_unstable();
        names
    }
}

/// Neither keys nor values: a configuration is shown by what was made of it.
impl fmt::Debug for Keys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Keys")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn changed_new_and_missing_keys_are_named_and_their_values_are_not() {
        let before =
            "[server]\nhostname = 'a'\nthreads = 2\n[tls]\nkey = 'x'\n[[trust]]\nname = 'web'\n";
        let after = "[server]\nhostname = 'b'\n[tls]\nkey = 'x'\ncertificate = 'secret'\n[[trust]]\nname = 'db'\n";
        let (before, after) = (Keys::of(before), Keys::of(after));
        let expected = ["server.hostname", "server.threads", "tls.certificate", "trust"];
        assert_eq!(after.changed_since(&before), expected);
        assert!(after.changed_since(&after).is_empty());
        assert!(!format!("{after:?}").contains("secret"));
    }
}
