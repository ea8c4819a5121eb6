//! Links of a message: hosts and registrable domains, by the rules of browsers (WHATWG URL) and of the public suffix list.

use super::{Mark, Marks};
use std::net::IpAddr;
use url::{Host, Url};

/// A host that the message links to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Link {
    /// Its name in lower case, in punycode where it is not ASCII; or an address.
    pub host: String,
    /// What can be registered of it: `shop.co.uk` of `www.shop.co.uk`; an address as it is.
    pub domain: String,
}

/// Links as they are found.
#[derive(Debug, Default)]
pub(super) struct Links {
    pub(super) found: Vec<Link>,
    pub(super) count: u32,
}

impl Links {
    /// Takes note of a link; the registrable domain that it leads to, if it leads to a host of the web.
    pub(super) fn add(&mut self, url: &str, marks: &mut Marks) -> Option<String> {
        let url = url.trim();
        if !is_of_web(url) {
            return None;
        }
        self.count = self.count.saturating_add(1);
        if self.count > LINKS_READ_MAX || url.len() > URL_BYTES_MAX {
            marks.set(Mark::LinksUncounted);
            return None;
        }
        let url = up_to_path(url);
        let whole = if url.starts_with("//") { format!("https:{url}") } else { url.to_owned() };
        let url = Url::parse(&whole).ok()?;
        let link = Link::to(&url)?;
        marks.set_if(Mark::LinkToAddress, link.is_address());
        marks.set_if(Mark::LinkPunycode, link.host.split('.').any(|l| l.starts_with("xn--")));
        marks.set_if(Mark::LinkCredentials, !url.username().is_empty());
        let domain = link.domain.clone();
        let is_known = self.found.iter().any(|known| known.host == link.host);
        if !is_known && self.found.len() < LINKS_MAX {
            self.found.push(link);
        } else if !is_known {
            marks.set(Mark::LinksUncounted);
        }
        Some(domain)
    }

    /// Takes note of the links that stand in a text as they are.
    pub(super) fn add_from_text(&mut self, text: &str, marks: &mut Marks) {
        for at in memchr::memmem::find_iter(text.as_bytes(), b"://") {
            let scheme = text[..at].rsplit(|c: char| !c.is_ascii_alphabetic()).next();
            let begin = at - scheme.unwrap_or_default().len();
            if is_of_web(&text[begin..]) {
                self.add(url_at(&text[begin..]), marks);
            }
            if self.count > LINKS_READ_MAX {
                break;
            }
        }
        for at in memchr::memmem::find_iter(text.as_bytes(), b"www.") {
            let before = text[..at].chars().next_back();
            if before.is_none_or(|c| c.is_whitespace() || matches!(c, '(' | '<' | '"' | '[')) {
                self.add(&format!("http://{}", url_at(&text[at..])), marks);
            }
            if self.count > LINKS_READ_MAX {
                break;
            }
        }
    }
}

impl Link {
    fn to(url: &Url) -> Option<Self> {
        let host = match url.host()? {
            Host::Domain(name) => name.trim_end_matches('.').to_owned(),
            Host::Ipv4(address) => address.to_string(),
            Host::Ipv6(address) => address.to_string(),
        };
        (host.len() <= HOST_BYTES_MAX && !host.is_empty())
            .then(|| Self { domain: registrable(&host), host })
    }

    fn is_address(&self) -> bool {
        self.host.parse::<IpAddr>().is_ok()
    }
}

/// What can be registered of a host's name in lower case; the name itself if nothing can.
#[must_use]
pub fn registrable(host: &str) -> String {
    if host.parse::<IpAddr>().is_ok() {
        return host.to_owned();
    }
    psl::domain_str(host).unwrap_or(host).to_owned()
}

/// The registrable domain that a text shows if it is a link itself.
pub(super) fn shown_domain(text: &str) -> Option<String> {
    let is_one_word = !text.contains(char::is_whitespace) && text.len() <= URL_BYTES_MAX;
    let url = match text {
        _ if !is_one_word => return None,
        _ if is_of_web(text) => text.to_owned(),
        _ if text.to_ascii_lowercase().starts_with("www.") => format!("http://{text}"),
        _ => return None,
    };
    Link::to(&Url::parse(&url).ok()?).map(|link| link.domain)
}

fn is_of_web(url: &str) -> bool {
    let begins = |scheme: &str| {
        url.get(..scheme.len()).is_some_and(|begin| begin.eq_ignore_ascii_case(scheme))
    };
    begins("http:") || begins("https:") || begins("ftp:") || begins("//")
}

/// A link without its path and what follows, which say nothing about the host. However many slashes there are, the host stands
/// behind them (WHATWG URL §4.4, "special authority ignore slashes state").
fn up_to_path(url: &str) -> &str {
    let slashes = url.find("//").unwrap_or(url.len());
    let host = url[slashes..].trim_start_matches(['/', '\\', '\t', '\r', '\n']);
    let path = host.find(['/', '\\', '?', '#']).unwrap_or(host.len());
    &url[..url.len() - host.len() + path]
}

/// The link that a text begins with.
fn url_at(text: &str) -> &str {
    let ends = |c: char| c.is_whitespace() || c.is_control() || matches!(c, '<' | '>' | '"' | '`');
    let window = floor(text, URL_BYTES_MAX + 1);
    // Most links are ASCII as far as they go.
    let ascii = window.bytes().take_while(|octet| octet.is_ascii() && !ends(char::from(*octet)));
    let ascii = ascii.count();
    let url = &window[..window[ascii..].find(ends).map_or(window.len(), |end| ascii + end)];
    url.trim_end_matches(['.', ',', ';', ':', '!', '?', ')', ']', '}', '\'', '*', '_'])
}

/// The beginning of a text, at most so many octets.
fn floor(text: &str, bytes_max: usize) -> &str {
    &text[..text.floor_char_boundary(bytes_max)]
}

/// How many hosts are listed.
pub const LINKS_MAX: usize = 50;
/// How many links are read.
const LINKS_READ_MAX: u32 = 500;
const URL_BYTES_MAX: usize = 2_000;
const HOST_BYTES_MAX: usize = 255;
