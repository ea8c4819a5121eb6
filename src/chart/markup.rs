//! The elements of a drawing, with every text escaped.

use std::fmt::{self, Write};

/// A point or a size.
type Pair = (f64, f64);

/// The drawing so far. Writing to it cannot fail.
#[derive(Default)]
pub(super) struct Markup(String);

impl Markup {
    pub(super) fn finish(self) -> String {
        self.0
    }

    /// A constant of this module's callers, as it is.
    pub(super) fn raw(&mut self, text: &str) {
        self.0.push_str(text);
    }

    /// A text that may hold anything; what XML cannot hold (XML 1.0 §2.2) is left out.
    pub(super) fn text(&mut self, text: &str) {
        for c in text.chars() {
            match c {
                '&' => self.raw("&amp;"),
                '<' => self.raw("&lt;"),
                '>' => self.raw("&gt;"),
                '"' => self.raw("&quot;"),
                '\'' => self.raw("&#39;"),
                c if c.is_control() || matches!(c, '\u{fffe}' | '\u{ffff}') => {}
                c => self.0.push(c),
            }
        }
    }

    pub(super) fn attribute(&mut self, name: &str, value: impl fmt::Display) {
        let _ = write!(self.0, " {name}=\"");
        self.text(&value.to_string());
        self.raw("\"");
    }

    pub(super) fn rect(&mut self, class: &str, at: Pair, size: Pair) {
        self.open("rect", class);
        self.place(at);
        self.numbers(&[("width", size.0), ("height", size.1)]);
        self.raw("/>\n");
    }

    pub(super) fn line(&mut self, class: &str, from: Pair, to: Pair) {
        self.open("line", class);
        self.numbers(&[("x1", from.0), ("y1", from.1), ("x2", to.0), ("y2", to.1)]);
        self.raw("/>\n");
    }

    /// A line through points; a single one is a dot; none is nothing.
    pub(super) fn path(&mut self, class: &str, points: &[Pair]) {
        let Some(&(x, y)) = points.first() else { return };
        self.open("path", class);
        self.raw(" d=\"");
        for (index, &(x, y)) in points.iter().enumerate() {
            let _ =
                write!(self.0, "{}{} {}", if index == 0 { 'M' } else { 'L' }, Short(x), Short(y));
        }
        if points.len() == 1 {
            let _ = write!(self.0, "L{} {}", Short(x), Short(y));
        }
        self.raw("\"/>\n");
    }

    pub(super) fn label(&mut self, class: &str, at: Pair, text: &str) {
        self.open("text", class);
        self.place(at);
        self.raw(">");
        self.text(text);
        self.raw("</text>\n");
    }

    /// A field without colour that says something to a mouse.
    pub(super) fn tip(&mut self, at: Pair, size: Pair, text: &str) {
        self.open("rect", "chart-tip");
        self.place(at);
        self.numbers(&[("width", size.0), ("height", size.1)]);
        self.raw("><title>");
        self.text(text);
        self.raw("</title></rect>\n");
    }

    fn open(&mut self, element: &str, class: &str) {
        let _ = write!(self.0, "<{element} class=\"{class}\"");
    }

    fn place(&mut self, (x, y): Pair) {
        self.numbers(&[("x", x), ("y", y)]);
    }

    fn numbers(&mut self, numbers: &[(&str, f64)]) {
        for &(name, number) in numbers {
            let _ = write!(self.0, " {name}=\"{}\"", Short(number));
        }
    }
}

/// A number with at most two digits after the point.
struct Short(f64);

impl fmt::Display for Short {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", (self.0 * 100.0).round() / 100.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_text_escapes_from_its_place() {
        let mut out = Markup::default();
        out.label("x", (1.0 / 3.0, 2.0), "</text><script>a('&\")\u{1}\u{fffe}</script>");
        assert_eq!(
            out.finish(),
            "<text class=\"x\" x=\"0.33\" y=\"2\">&lt;/text&gt;&lt;script&gt;a(&#39;&amp;&quot;)&lt;/script&gt;</text>\n"
        );
    }
}
