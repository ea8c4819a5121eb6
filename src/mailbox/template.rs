//! Which folder is an account's: a path with placeholders, such as `/var/vmail/{domain}/{local}/Maildir`.
//!
//! An account's name is a stranger's text. What of it stands in a path is one component of the path, or there is no path: no
//! slash, no NUL, not `.` and not `..`, also together with what stands beside the placeholder.

use crate::types::AccountId;
use std::{
    fmt,
    path::{Component, Path, PathBuf},
    str::FromStr,
};

/// A path with placeholders.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Template {
    text: String,
    /// The folder above all placeholders.
    root: PathBuf,
    /// The components below it.
    pub(super) parts: Vec<Part>,
}

/// One component of a path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Part {
    /// Always the same.
    Fixed(String),
    /// A piece of the account's name, with what stands around it.
    Named { before: String, piece: Piece, after: String },
}

/// A piece of an account's name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Piece {
    /// All of it.
    Account,
    /// What stands after the last `@`.
    Domain,
    /// What stands before it.
    Local,
}

/// Why a text is no template.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum TemplateError {
    /// It is not a path from the root folder, or it goes back on itself.
    #[error("wanted a path from / on, without .. in it")]
    NotAbsolute,
    /// A brace that is no placeholder, or two placeholders in one component.
    #[error("wanted {{account}}, {{domain}} and {{local}}, one in a component")]
    Placeholder,
    /// It would be the same folder for several accounts.
    #[error("wanted either {{account}}, or {{domain}} and {{local}}, each once")]
    Ambiguous,
}

impl Template {
    /// The folder above all placeholders.
    #[must_use]
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// The account's folder below the root; none if its name makes no path.
    #[must_use]
    pub fn place(&self, account: &AccountId) -> Option<PathBuf> {
        let mut path = PathBuf::new();
        for part in &self.parts {
            path.push(part.text_for(account)?);
        }
        Some(path)
    }

    /// The folder that holds the one that is the account's own, below the root, and the name of that.
    pub(super) fn own_folder(&self, account: &AccountId) -> Option<(PathBuf, String)> {
        let last = self.parts.iter().rposition(|part| matches!(part, Part::Named { .. }))?;
        let mut above = PathBuf::new();
        for part in &self.parts[..last] {
            above.push(part.text_for(account)?);
        }
        Some((above, self.parts[last].text_for(account)?))
    }
}

impl Part {
    fn text_for(&self, account: &AccountId) -> Option<String> {
        let text = match self {
            Self::Fixed(text) => return Some(text.clone()),
            Self::Named { before, piece, after } => {
                format!("{before}{}{after}", piece.of(account)?)
            }
        };
        is_component(&text).then_some(text)
    }

    /// What stands at the placeholder in a name of this form.
    pub(super) fn piece_in<'n>(&self, name: &'n str) -> Option<(Piece, &'n str)> {
        let Self::Named { before, piece, after } = self else { return None };
        let text = name.strip_prefix(before.as_str())?.strip_suffix(after.as_str())?;
        (!text.is_empty()).then_some((*piece, text))
    }

    fn parse(text: &str) -> Result<Self, TemplateError> {
        let Some(open) = text.find(['{', '}']) else { return Ok(Self::Fixed(text.to_owned())) };
        let (before, rest) = text.split_at(open);
        let (piece, after) = Piece::ALL
            .iter()
            .find_map(|(word, piece)| rest.strip_prefix(word).map(|after| (*piece, after)))
            .ok_or(TemplateError::Placeholder)?;
        if after.contains(['{', '}']) {
            return Err(TemplateError::Placeholder);
        }
        Ok(Self::Named { before: before.to_owned(), piece, after: after.to_owned() })
    }
}

impl Piece {
    const ALL: [(&'static str, Self); 3] =
        [("{account}", Self::Account), ("{domain}", Self::Domain), ("{local}", Self::Local)];

    fn of(self, account: &AccountId) -> Option<&str> {
        let name = account.as_str();
        match self {
            Self::Account => Some(name),
            Self::Domain => name.rsplit_once('@').map(|(_, domain)| domain),
            Self::Local => name.rsplit_once('@').map(|(local, _)| local),
        }
    }
}

/// True of a text that is the name of one file and leads nowhere else.
fn is_component(text: &str) -> bool {
    (1..=COMPONENT_BYTES_MAX).contains(&text.len())
        && !text.contains(['/', '\0'])
        && !matches!(text, "." | "..")
}

impl FromStr for Template {
    type Err = TemplateError;

    fn from_str(text: &str) -> Result<Self, TemplateError> {
        let mut components = Path::new(text).components();
        if components.next() != Some(Component::RootDir) {
            return Err(TemplateError::NotAbsolute);
        }
        let mut parts = Vec::new();
        for component in components {
            let Component::Normal(name) = component else { return Err(TemplateError::NotAbsolute) };
            parts.push(Part::parse(name.to_str().ok_or(TemplateError::NotAbsolute)?)?);
        }
        check_pieces(&parts)?;
        let is_fixed = |part: &&Part| matches!(part, Part::Fixed(_));
        let fixed = parts.iter().take_while(is_fixed).count();
        let mut root = PathBuf::from("/");
        for part in parts.drain(..fixed) {
            if let Part::Fixed(name) = part {
                root.push(name);
            }
        }
        Ok(Self { text: text.to_owned(), root, parts })
    }
}

fn check_pieces(parts: &[Part]) -> Result<(), TemplateError> {
    let count = |wanted| {
        let is_it = |part: &&Part| matches!(part, Part::Named { piece, .. } if *piece == wanted);
        parts.iter().filter(is_it).count()
    };
    match (count(Piece::Account), count(Piece::Domain), count(Piece::Local)) {
        (1, 0, 0) | (0, 1, 1) => Ok(()),
        _ => Err(TemplateError::Ambiguous),
    }
}

impl fmt::Display for Template {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// The longest name of a file on Linux.
const COMPONENT_BYTES_MAX: usize = 255;

#[cfg(test)]
mod tests {
    use super::*;

    fn template(text: &str) -> Template {
        text.parse().unwrap()
    }

    #[test]
    fn an_account_has_a_folder_of_its_own() {
        for (text, root, place) in [
            ("/var/vmail/{domain}/{local}/Maildir", "/var/vmail", "shop.example/ann/Maildir"),
            ("/var/vmail/{account}", "/var/vmail", "ann@shop.example"),
            ("/home/vhost-{domain}/mail.{local}", "/home", "vhost-shop.example/mail.ann"),
            ("/{domain}/{local}", "/", "shop.example/ann"),
        ] {
            let template = template(text);
            assert_eq!(template.root(), Path::new(root));
            let account = "ann@shop.example".parse().unwrap();
            assert_eq!(template.place(&account), Some(place.into()), "{text}");
        }
    }

    #[test]
    fn a_name_never_leads_out_of_its_component() {
        let template = template("/var/vmail/{domain}/{local}/Maildir");
        for name in [
            "..@shop.example",
            ".@shop.example",
            "@shop.example",
            "../../etc@shop.example",
            "a/b@shop.example",
            "ann@..",
            "ann@",
            "ann@../other.example",
            "ann",
            "uid1042",
            &format!("{}@shop.example", "a".repeat(256)),
        ] {
            let account: AccountId = name.parse().unwrap();
            assert_eq!(template.place(&account), None, "{name}");
        }
        // What stands beside the placeholder makes no way up either.
        let dotted: Template = "/var/vmail/{domain}/.{local}".parse().unwrap();
        assert_eq!(dotted.place(&".@shop.example".parse().unwrap()), None);
        let braces = "{domain}@shop.example".parse().unwrap();
        assert_eq!(template.place(&braces), Some("shop.example/{domain}/Maildir".into()));
    }

    #[test]
    fn a_template_is_unambiguous() {
        use TemplateError::{Ambiguous, NotAbsolute, Placeholder};
        for (text, error) in [
            ("vmail/{account}", NotAbsolute),
            ("", NotAbsolute),
            ("/var/../{account}", NotAbsolute),
            ("/var/vmail", Ambiguous),
            ("/var/{domain}", Ambiguous),
            ("/var/{local}", Ambiguous),
            ("/var/{account}/{domain}/{local}", Ambiguous),
            ("/var/{domain}/{domain}/{local}", Ambiguous),
            ("/var/{domain}.{local}", Placeholder),
            ("/var/{user}", Placeholder),
            ("/var/{account", Placeholder),
            ("/var/}{account}", Placeholder),
        ] {
            assert_eq!(text.parse::<Template>(), Err(error), "{text}");
        }
    }

    #[test]
    fn the_folder_that_is_its_own_is_known() {
        let account = "ann@shop.example".parse().unwrap();
        for (text, above, own) in [
            ("/v/{domain}/{local}/Maildir", "shop.example", "ann"),
            ("/v/{account}/mail", "", "ann@shop.example"),
        ] {
            let found = template(text).own_folder(&account).unwrap();
            assert_eq!(found, (PathBuf::from(above), own.to_owned()));
        }
    }
}
