//! What every page has around it: the head with sections, language and way out, the foot with the time.

use super::{
    assets,
    texts::Texts,
    visit::{Viewer, Visitor},
};
use crate::types::Timestamp;
use std::sync::Arc;

/// The frame of one page.
pub(super) struct Frame {
    pub(super) t: &'static Texts,
    pub(super) viewer: Option<Arc<Viewer>>,
    pub(super) hostname: Option<String>,
    pub(super) at: Timestamp,
    section: Option<Section>,
    /// Where a visitor is, so that another language shows the same page; none: the page is in English only.
    back: Option<String>,
}

/// A section of the operators' pages.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Section {
    Overview,
    Accounts,
    Tenants,
    Events,
    Trace,
    Alerts,
    Listings,
    Audit,
}

impl Section {
    const ALL: [Self; 8] = [
        Self::Overview,
        Self::Accounts,
        Self::Tenants,
        Self::Events,
        Self::Trace,
        Self::Alerts,
        Self::Listings,
        Self::Audit,
    ];

    pub(super) const fn title(self) -> &'static str {
        match self {
            Self::Overview => "Overview",
            Self::Accounts => "Accounts",
            Self::Tenants => "Tenants",
            Self::Events => "Events",
            Self::Trace => "Trace",
            Self::Alerts => "Alerts",
            Self::Listings => "Blocklists",
            Self::Audit => "Audit",
        }
    }

    pub(super) const fn path(self) -> &'static str {
        match self {
            Self::Overview => "/",
            Self::Accounts => "/accounts",
            Self::Tenants => "/tenants",
            Self::Events => "/events",
            Self::Trace => "/trace",
            Self::Alerts => "/alerts",
            Self::Listings => "/listings",
            Self::Audit => "/audit",
        }
    }
}

/// A choice of language: its texts, whether it is the page's own, and where the choice leads.
type Choice = (&'static Texts, bool, String);

impl Frame {
    /// The frame of a page that is in every language.
    pub(super) fn new(visitor: &Visitor, section: Option<Section>) -> Self {
        Self {
            t: Texts::of(visitor.language),
            viewer: visitor.viewer.clone(),
            hostname: visitor.viewer.as_ref().map(|_| visitor.hostname.clone()),
            at: visitor.at,
            section,
            back: Some(visitor.path.clone()),
        }
    }

    /// The frame of a page that is in English only.
    pub(super) fn english(visitor: &Visitor, section: Section) -> Self {
        let t = Texts::of(crate::types::Language::English);
        Self { t, back: None, ..Self::new(visitor, Some(section)) }
    }

    /// The sections that the viewer may see.
    pub(super) fn sections(&self) -> &'static [Section] {
        let is_staff = self.viewer.as_ref().is_some_and(|viewer| viewer.is_staff());
        if is_staff { &Section::ALL } else { &[] }
    }

    pub(super) fn is_at(&self, section: &Section) -> bool {
        self.section == Some(*section)
    }

    pub(super) fn languages(&self) -> Vec<Choice> {
        let Some(back) = &self.back else { return Vec::new() };
        let choice = |texts: &'static Texts| {
            let here = texts.language == self.t.language;
            let back = form_urlencoded(back);
            (texts, here, format!("/language?to={}&back={back}", texts.language))
        };
        Texts::ALL.into_iter().map(choice).collect()
    }

    #[expect(clippy::unused_self, reason = "a template reaches it through the frame")]
    pub(super) fn asset(&self, name: &str) -> String {
        assets::path(name)
    }
}

/// A text as the value of a query.
pub(super) fn form_urlencoded(text: &str) -> String {
    askama::filters::urlencode_strict(text).map_or_else(|_| String::new(), |t| t.to_string())
}
