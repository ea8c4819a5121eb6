//! The same numbers as a table of HTML.

use super::{Chart, markup::Markup, scale, value};

impl Chart<'_> {
    /// A `<table>` with a row for each slot and a column for each series, for who cannot see the drawing.
    #[must_use]
    pub fn to_table(&self) -> String {
        let mut out = Markup::default();
        out.raw("<table class=\"chart-table\"><caption>");
        out.text(self.title);
        out.raw("</caption>\n<thead><tr>");
        let names = self.series().iter().map(|series| series.name);
        for name in std::iter::once(self.time_label).chain(names) {
            out.raw("<th scope=\"col\">");
            out.text(name);
            out.raw("</th>");
        }
        out.raw("</tr></thead>\n<tbody>\n");
        for (slot, name) in self.slots().iter().enumerate() {
            self.push_row(&mut out, slot, name);
        }
        out.raw("</tbody></table>\n");
        out.finish()
    }

    fn push_row(&self, out: &mut Markup, slot: usize, name: &str) {
        out.raw("<tr><th scope=\"row\">");
        out.text(name);
        out.raw("</th>");
        for series in self.series() {
            out.raw("<td>");
            match value(series, slot) {
                Some(count) => out.text(&scale::grouped(count)),
                None => out.text(self.gap_label),
            }
            out.raw("</td>");
        }
        out.raw("</tr>\n");
    }
}

#[cfg(test)]
mod tests {
    use crate::chart::{Chart, Kind, Paint, Series};

    #[test]
    fn a_table_has_every_number() {
        let series = |name, values| Series { name, paint: Paint::Other, values };
        let chart = Chart {
            id: "c",
            title: "A & B",
            description: "",
            value_label: "n",
            time_label: "day",
            gap_label: "not collected",
            kind: Kind::Bars,
            slots: vec!["1".into(), "2".into()],
            series: vec![series("a", vec![Some(1_000), None]), series("b", vec![Some(0)])],
            mark: None,
        };
        assert_eq!(
            chart.to_table(),
            "<table class=\"chart-table\"><caption>A &amp; B</caption>\n\
             <thead><tr><th scope=\"col\">day</th><th scope=\"col\">a</th><th scope=\"col\">b</th></tr></thead>\n\
             <tbody>\n\
             <tr><th scope=\"row\">1</th><td>1\u{202f}000</td><td>0</td></tr>\n\
             <tr><th scope=\"row\">2</th><td>not collected</td><td>not collected</td></tr>\n\
             </tbody></table>\n"
        );
    }
}
