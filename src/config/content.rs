//! Content rules: a file of their own, or the ones that are built in.

use super::{
    checker::At,
    place_and_message,
    written::{Section, Spam},
};
use crate::rules::spam::content::Rules;
use std::{path::Path, sync::LazyLock};

/// The rules of the file that `spam.content_rules` names; none: those that ship. Their tests are run.
pub(super) fn check(root: &mut At<'_>, section: &Section<Spam>) -> Option<Rules> {
    let mut at = root.inside("spam");
    // Its unknown keys are told where its other keys are checked.
    let s = &section.known;
    let path = at.value("content_rules", &s.content_rules)?;
    load(&path)
        .inspect_err(|detail| at.wrong("content_rules", format!("{}: {detail}", path.display())))
        .ok()
}

fn load(path: &Path) -> Result<Rules, String> {
    let text = std::fs::read_to_string(path).map_err(|error| error.to_string())?;
    parse(&text)
}

fn parse(text: &str) -> Result<Rules, String> {
    let written = toml::from_str(text).map_err(|error| place_and_message(text, &error))?;
    Rules::new(&written).map_err(|error| error.to_string())
}

/// The rules that ship.
pub(super) fn built_in() -> Rules {
    BUILT_IN.clone()
}

/// Made ready once and only for whoever judges texts, because that takes longer than all else that is done for a configuration.
static BUILT_IN: LazyLock<Rules> = LazyLock::new(|| {
    parse(include_str!("../../config/content.toml")).expect("a unit test reads the built-in rules")
});

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_built_in_rules_are_read() {
        assert!(built_in().count() > 30);
    }

    #[test]
    fn a_mistake_is_told_with_its_place() {
        let check = |text: &str, expected: &str| {
            let error = parse(text).map(|rules| rules.count()).unwrap_err();
            assert!(error.contains(expected), "{error}");
        };
        check("[[rule]]\nname = 1\n", "line 2: invalid type");
        check(
            "[[rule]]\nname = 'r'\nsays = 's'\nscore = 1.0\nsubjekt = ['a']\n",
            "line 5: unknown field",
        );
        check("[[rule]]\nname = 'r'\nsays = 's'\nscore = 1.0\n", "the rule r: asks for nothing");
        assert!(load(Path::new("/no/such/file")).unwrap_err().contains("No such file"));
    }
}
