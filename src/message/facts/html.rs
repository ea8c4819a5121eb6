//! Text, links and tricks of HTML, by html5gum, whose tokens are those of browsers.
//!
//! There is no tree: what a style sheet hides is not known, only what an element hides itself.

use super::{Mark, Marks, decode::utf8, links::Links, text_room};
use html5gum::{
    Emitter, ForwardingEmitter, Span, Tokenizer,
    emitters::callback::{CallbackEmitter, CallbackEvent},
};
use std::convert::Infallible;

/// Adds what a reader sees of a page to `text`, and what else it has to `links` and `marks`.
pub(super) fn read(html: &str, text: &mut String, links: &mut Links, marks: &mut Marks) {
    let mut page = Page {
        text,
        links,
        marks,
        tag: Vec::new(),
        attribute: Attribute::Other,
        hides: false,
        muted: None,
        anchor: None,
    };
    let mut emitter = CallbackEmitter::new(|event: CallbackEvent<'_>, _: Span<()>| {
        page.meet(&event);
        None::<Infallible>
    });
    emitter.naively_switch_states(true);
    Tokenizer::new_with_emitter(html, Unchecked(emitter)).for_each(drop);
}

/// An emitter that is not told of errors, which spares the tokenizer to look for them in every character.
struct Unchecked<E>(E);

impl<E: Emitter> ForwardingEmitter for Unchecked<E> {
    type Token = E::Token;

    fn inner(&mut self) -> &mut impl Emitter<Token = Self::Token> {
        &mut self.0
    }

    fn should_emit_errors(&mut self) -> bool {
        false
    }
}

struct Page<'o> {
    text: &'o mut String,
    links: &'o mut Links,
    marks: &'o mut Marks,
    /// The start tag that is being read.
    tag: Vec<u8>,
    attribute: Attribute,
    /// True if that tag hides what is in its element.
    hides: bool,
    muted: Option<Muted>,
    anchor: Option<Anchor>,
}

/// An element whose text nobody sees.
struct Muted {
    tag: Vec<u8>,
    /// Elements of the same name that are open in it.
    depth: u32,
    is_trick: bool,
}

/// The element `a` that is open.
struct Anchor {
    /// Where it leads to.
    domain: String,
    /// Where its text begins.
    begin: usize,
}

#[derive(Clone, Copy)]
enum Attribute {
    Href,
    Source,
    Action,
    Style,
    Hidden,
    Other,
}

impl Page<'_> {
    fn meet(&mut self, event: &CallbackEvent<'_>) {
        match event {
            CallbackEvent::OpenStartTag { name } => {
                self.tag.clear();
                self.tag.extend_from_slice(&name[..name.len().min(TAG_BYTES_MAX)]);
                self.hides = MUTE.contains(&self.tag.as_slice());
            }
            CallbackEvent::AttributeName { name } => {
                self.attribute = Attribute::named(name);
                // It hides whether or not it has a value.
                self.hides |= matches!(self.attribute, Attribute::Hidden);
            }
            CallbackEvent::AttributeValue { value } => {
                if !matches!(self.attribute, Attribute::Hidden | Attribute::Other) {
                    self.meet_value(&utf8(value));
                }
            }
            CallbackEvent::CloseStartTag { .. } => self.open(),
            CallbackEvent::EndTag { name } => self.close(name),
            CallbackEvent::String { value } => self.meet_text(&utf8(value)),
            CallbackEvent::Comment { .. }
            | CallbackEvent::Doctype { .. }
            | CallbackEvent::Error(_) => {}
        }
    }

    fn meet_value(&mut self, value: &str) {
        match (self.attribute, self.tag.as_slice()) {
            (Attribute::Href, b"a" | b"area") => {
                let domain = self.links.add(value, self.marks);
                let begin = self.text.len();
                self.anchor = domain.map(|domain| Anchor { domain, begin });
            }
            (Attribute::Source, b"img") => {
                let is_remote = self.links.add(value, self.marks).is_some();
                self.marks.set_if(Mark::RemoteImage, is_remote);
            }
            (Attribute::Action, b"form") => {
                self.links.add(value, self.marks);
            }
            (Attribute::Style, _) => self.hides |= is_hiding(value),
            _ => {}
        }
    }

    /// A start tag ended.
    fn open(&mut self) {
        self.attribute = Attribute::Other;
        self.marks.set_if(Mark::HtmlForm, self.tag == b"form");
        self.marks.set_if(Mark::HtmlScript, self.tag == b"script");
        self.separate();
        if let Some(muted) = &mut self.muted {
            muted.depth = muted.depth.saturating_add(u32::from(muted.tag == self.tag));
        } else if self.hides && !VOID.contains(&self.tag.as_slice()) {
            let is_trick = !MUTE.contains(&self.tag.as_slice());
            self.muted = Some(Muted { tag: std::mem::take(&mut self.tag), depth: 1, is_trick });
        }
    }

    fn close(&mut self, name: &[u8]) {
        self.attribute = Attribute::Other;
        self.tag.clear();
        self.tag.extend_from_slice(&name[..name.len().min(TAG_BYTES_MAX)]);
        self.separate();
        if let Some(muted) = &mut self.muted
            && muted.tag == self.tag
        {
            muted.depth -= 1;
            if muted.depth == 0 {
                self.muted = None;
            }
        }
        if self.tag == b"a" {
            self.close_anchor();
        }
    }

    /// Does the text of a link say that it leads elsewhere?
    fn close_anchor(&mut self) {
        let Some(anchor) = self.anchor.take() else { return };
        let shown = self.text.get(anchor.begin..).unwrap_or_default().trim();
        let shown = super::links::shown_domain(shown);
        let is_other = shown.is_some_and(|shown| shown != anchor.domain);
        self.marks.set_if(Mark::LinkMismatch, is_other);
    }

    fn meet_text(&mut self, value: &str) {
        match &self.muted {
            Some(muted) => {
                let is_trick = muted.is_trick && value.contains(char::is_alphanumeric);
                self.marks.set_if(Mark::HtmlHidden, is_trick);
            }
            None => text_room(self.text, value),
        }
    }

    /// Words in two blocks are two words; words in two inline elements are one.
    fn separate(&mut self) {
        if BLOCKS.contains(&self.tag.as_slice()) && !self.text.ends_with(['\n', ' ']) {
            text_room(self.text, "\n");
        }
    }
}

impl Attribute {
    const fn named(name: &[u8]) -> Self {
        match name {
            b"href" => Self::Href,
            b"src" => Self::Source,
            b"action" => Self::Action,
            b"style" => Self::Style,
            b"hidden" => Self::Hidden,
            _ => Self::Other,
        }
    }
}

/// True of a style that makes an element invisible.
fn is_hiding(style: &str) -> bool {
    style.split(';').any(|declaration| {
        let (name, value) = declaration.split_once(':').unwrap_or_default();
        let value = value.trim().trim_end_matches("!important").trim().to_ascii_lowercase();
        match name.trim().to_ascii_lowercase().as_str() {
            "display" => value == "none",
            "visibility" => value == "hidden",
            "font-size" => {
                let size = value.trim_end_matches(|c: char| c.is_alphabetic() || c == '%');
                size.parse::<f32>().is_ok_and(|size| size < 1.5 && !value.ends_with("em"))
                    || size.parse::<f32>().is_ok_and(|size| size < 0.2)
            }
            "opacity" => value.parse::<f32>().is_ok_and(|share| share < 0.1),
            _ => false,
        }
    })
}

/// Elements whose text is no text.
const MUTE: [&[u8]; 5] = [b"script", b"style", b"title", b"template", b"select"];

/// Elements without an end tag.
const VOID: [&[u8]; 9] =
    [b"br", b"img", b"hr", b"input", b"meta", b"link", b"area", b"col", b"wbr"];

/// Elements that stand apart from the text before and after them.
const BLOCKS: [&[u8]; 22] = [
    b"br",
    b"p",
    b"div",
    b"tr",
    b"td",
    b"th",
    b"li",
    b"ul",
    b"ol",
    b"table",
    b"h1",
    b"h2",
    b"h3",
    b"h4",
    b"h5",
    b"h6",
    b"hr",
    b"body",
    b"center",
    b"blockquote",
    b"title",
    b"option",
];

/// Longer than any tag that means something.
const TAG_BYTES_MAX: usize = 16;
