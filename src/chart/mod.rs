//! Values over time as plain SVG: bars or lines, with gaps where nothing was collected.
//!
//! Pure: values, labels and words come from the caller, a text goes out; no script, no file, no style attribute, so that a
//! page's content security policy need not allow any. Colours are CSS variables ([`STYLE`]), so one drawing is right in
//! the light, in the dark and on paper. Read out, a drawing is its title and description; [`Chart::to_table`] has the same
//! numbers for who cannot see it. Every text is escaped here.

mod markup;
mod scale;
mod table;

use markup::Markup;
use scale::Scale;
use std::fmt;

/// The style sheet that the drawings need; a page may set other values for its variables after it.
pub const STYLE: &str = include_str!("style.css");

/// Values over time.
#[derive(Debug, Clone)]
pub struct Chart<'a> {
    /// A word that is unique on its page: letters, digits, `-`.
    pub id: &'a str,
    /// What is shown.
    pub title: &'a str,
    /// What can be seen in it, in a sentence, for who cannot.
    pub description: &'a str,
    /// The label of the axis of values: `recipients`.
    pub value_label: &'a str,
    /// The label of the axis of time: `hour (UTC)`.
    pub time_label: &'a str,
    /// What a slot without values is called: `not collected`.
    pub gap_label: &'a str,
    /// How values are drawn.
    pub kind: Kind,
    /// The slots of time, oldest first, by name; at most [`SLOTS_MAX`], more are left out at the end.
    pub slots: Vec<String>,
    /// What is counted, at most [`SERIES_MAX`]; the first stands lowest.
    pub series: Vec<Series<'a>>,
    /// A line across: a limit.
    pub mark: Option<Mark<'a>>,
}

/// How values are drawn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Bars, one series upon the other.
    Bars,
    /// A line for each series.
    Lines,
}

/// One thing that is counted.
#[derive(Debug, Clone)]
pub struct Series<'a> {
    /// Its name in the legend.
    pub name: &'a str,
    /// Its colour.
    pub paint: Paint,
    /// A value for each slot; none where nothing was collected.
    pub values: Vec<Option<u64>>,
}

/// A colour by what it stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Paint {
    /// Mail that went out.
    Accepted,
    /// Mail that was put off.
    Deferred,
    /// Mail that was refused.
    Refused,
    /// Mail whose fate is unknown.
    Unknown,
    /// Anything else.
    Other,
}

impl Paint {
    const fn class(self) -> &'static str {
        match self {
            Self::Accepted => "chart-accepted",
            Self::Deferred => "chart-deferred",
            Self::Refused => "chart-refused",
            Self::Unknown => "chart-unknown",
            Self::Other => "chart-other",
        }
    }
}

/// A line across the drawing.
#[derive(Debug, Clone, Copy)]
pub struct Mark<'a> {
    /// What it is: `limit 50`.
    pub name: &'a str,
    /// Where it is.
    pub value: u64,
}

impl Chart<'_> {
    /// The drawing as an `<svg>` element that scales to the width it is given.
    #[must_use]
    pub fn to_svg(&self) -> String {
        let scale = Scale::up_to(self.value_max());
        let mut out = Markup::default();
        self.open(&mut out);
        self.draw_grid(&mut out, scale);
        self.draw_gaps(&mut out);
        match self.kind {
            Kind::Bars => self.draw_bars(&mut out, scale),
            Kind::Lines => self.draw_lines(&mut out, scale),
        }
        self.draw_mark(&mut out, scale);
        self.draw_times(&mut out);
        self.draw_legend(&mut out);
        self.draw_tips(&mut out);
        out.raw("</svg>\n");
        out.finish()
    }

    fn slots(&self) -> &[String] {
        &self.slots[..self.slots.len().min(SLOTS_MAX)]
    }

    fn series(&self) -> &[Series<'_>] {
        &self.series[..self.series.len().min(SERIES_MAX)]
    }

    fn value_max(&self) -> u64 {
        let mark = self.mark.map_or(0, |mark| mark.value);
        let values = |slot| self.series().iter().filter_map(move |series| value(series, slot));
        let tops = (0..self.slots().len()).map(|slot| match self.kind {
            Kind::Bars => values(slot).fold(0, u64::saturating_add),
            Kind::Lines => values(slot).max().unwrap_or(0),
        });
        tops.max().unwrap_or(0).max(mark)
    }

    /// True if no series has a value for this slot.
    fn is_gap(&self, slot: usize) -> bool {
        self.series().iter().all(|series| value(series, slot).is_none())
    }

    fn open(&self, out: &mut Markup) {
        out.raw("<svg class=\"chart\" role=\"img\"");
        out.attribute("viewBox", format_args!("0 0 {WIDTH} {HEIGHT}"));
        let id = self.id;
        out.attribute("aria-labelledby", format_args!("{id}-title {id}-desc"));
        out.raw(" xmlns=\"http://www.w3.org/2000/svg\">\n");
        for (element, text) in [("title", self.title), ("desc", self.description)] {
            out.raw(&format!("<{element}"));
            out.attribute("id", format_args!("{id}-{element}"));
            out.raw(">");
            out.text(text);
            out.raw(&format!("</{element}>\n"));
        }
    }

    fn draw_grid(&self, out: &mut Markup, scale: Scale) {
        for value in scale.steps() {
            let y = height_of(scale, value);
            out.line("chart-grid", (LEFT, y), (RIGHT, y));
            out.label("chart-value", (LEFT - 6.0, y + 4.0), &scale::grouped(value));
        }
        out.label("chart-axis", (LEFT, TOP - 10.0), self.value_label);
    }

    /// Slots beside one another in which nothing was collected are one hatched field.
    fn draw_gaps(&self, out: &mut Markup) {
        let mut slot = 0;
        while slot < self.slots().len() {
            let begin = slot;
            while slot < self.slots().len() && self.is_gap(slot) {
                slot += 1;
            }
            if slot > begin {
                let (x, width) = (self.left_of(begin), self.left_of(slot) - self.left_of(begin));
                out.rect("chart-gap", (x, TOP), (width, BOTTOM - TOP));
                let hatches = (width / HATCH_EVERY).ceil();
                let mut at = 0.0;
                while at < hatches {
                    let from = x + at * HATCH_EVERY;
                    let to = (from + HATCH_EVERY).min(x + width);
                    out.line("chart-hatch", (from, BOTTOM), (to, TOP));
                    at += 1.0;
                }
            } else {
                slot += 1;
            }
        }
    }

    fn draw_bars(&self, out: &mut Markup, scale: Scale) {
        let width = self.slot_width();
        let space = if width > 4.0 { width * 0.15 } else { 0.0 };
        for slot in 0..self.slots().len() {
            let mut below: u64 = 0;
            for series in self.series() {
                let Some(count) = value(series, slot).filter(|&count| count > 0) else { continue };
                let (bottom, top) =
                    (height_of(scale, below), height_of(scale, below.saturating_add(count)));
                let x = self.left_of(slot) + space;
                let size = (width - 2.0 * space, bottom - top);
                out.rect(series.paint.class(), (x, top), size);
                below = below.saturating_add(count);
            }
        }
    }

    fn draw_lines(&self, out: &mut Markup, scale: Scale) {
        for series in self.series() {
            let mut points = Vec::new();
            for slot in 0..=self.slots().len() {
                match value(series, slot).filter(|_| slot < self.slots().len()) {
                    Some(count) => points.push((self.middle_of(slot), height_of(scale, count))),
                    None => out.path(series.paint.class(), &std::mem::take(&mut points)),
                }
            }
        }
    }

    fn draw_mark(&self, out: &mut Markup, scale: Scale) {
        let Some(mark) = self.mark else { return };
        let y = height_of(scale, mark.value);
        out.line("chart-mark", (LEFT, y), (RIGHT, y));
        out.label("chart-mark-name", (RIGHT, y - 4.0), mark.name);
    }

    fn draw_times(&self, out: &mut Markup) {
        out.line("chart-base", (LEFT, BOTTOM), (RIGHT, BOTTOM));
        let every = scale::label_step(self.slots().len());
        for (slot, name) in self.slots().iter().enumerate().step_by(every) {
            let x = self.middle_of(slot);
            out.line("chart-base", (x, BOTTOM), (x, BOTTOM + 4.0));
            out.label("chart-time", (x, BOTTOM + 17.0), name);
        }
        out.label("chart-axis-end", (RIGHT, BOTTOM + 34.0), self.time_label);
    }

    fn draw_legend(&self, out: &mut Markup) {
        let mut x = LEFT;
        for series in self.series() {
            out.rect(series.paint.class(), (x, HEIGHT - 14.0), (10.0, 10.0));
            out.label("chart-name", (x + 15.0, HEIGHT - 5.0), series.name);
            x += 15.0 + text_width(series.name) + 18.0;
        }
        if (0..self.slots().len()).any(|slot| self.is_gap(slot)) {
            out.rect("chart-gap", (x, HEIGHT - 14.0), (10.0, 10.0));
            out.line("chart-hatch", (x, HEIGHT - 4.0), (x + 10.0, HEIGHT - 14.0));
            out.label("chart-name", (x + 15.0, HEIGHT - 5.0), self.gap_label);
        }
    }

    /// What a mouse that rests on a slot shows.
    fn draw_tips(&self, out: &mut Markup) {
        if self.slots().len() > TIPS_MAX {
            return;
        }
        for (slot, name) in self.slots().iter().enumerate() {
            let (x, width) = (self.left_of(slot), self.slot_width());
            out.tip((x, TOP), (width, BOTTOM - TOP), &format!("{name}: {}", Tip(self, slot)));
        }
    }

    fn slot_width(&self) -> f64 {
        (RIGHT - LEFT) / scale::real(self.slots().len().max(1))
    }

    fn left_of(&self, slot: usize) -> f64 {
        LEFT + self.slot_width() * scale::real(slot)
    }

    fn middle_of(&self, slot: usize) -> f64 {
        self.left_of(slot) + self.slot_width() / 2.0
    }
}

fn value(series: &Series<'_>, slot: usize) -> Option<u64> {
    series.values.get(slot).copied().flatten()
}

fn height_of(scale: Scale, value: u64) -> f64 {
    BOTTOM - (BOTTOM - TOP) * scale.part(value)
}

/// About how wide a text is in the legend; it only spaces the entries.
fn text_width(text: &str) -> f64 {
    scale::real(text.chars().count()) * 6.8
}

/// The values of one slot in words.
struct Tip<'a>(&'a Chart<'a>, usize);

impl fmt::Display for Tip<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(chart, slot) = *self;
        if chart.is_gap(slot) {
            return f.write_str(chart.gap_label);
        }
        let mut between = "";
        for series in chart.series() {
            if let Some(count) = value(series, slot) {
                write!(f, "{between}{} {}", series.name, scale::grouped(count))?;
                between = ", ";
            }
        }
        Ok(())
    }
}

/// The most slots that are drawn: the minutes of a day.
pub const SLOTS_MAX: usize = 1_440;
/// The most series that are drawn.
pub const SERIES_MAX: usize = 6;
/// The most slots that show their values to a mouse.
const TIPS_MAX: usize = 400;

// Where things are, in units of the drawing.
const WIDTH: f64 = 720.0;
const HEIGHT: f64 = 260.0;
const LEFT: f64 = 64.0;
const RIGHT: f64 = 708.0;
const TOP: f64 = 26.0;
const BOTTOM: f64 = 194.0;
const HATCH_EVERY: f64 = 8.0;

#[cfg(test)]
mod tests {
    use super::*;

    fn chart(kind: Kind, values: &[&[Option<u64>]]) -> Chart<'static> {
        let paints = [Paint::Accepted, Paint::Refused];
        let series = values
            .iter()
            .zip(["sent", "refused"])
            .zip(paints)
            .map(|((values, name), paint)| Series { name, paint, values: values.to_vec() });
        Chart {
            id: "mail",
            title: "Mail <today>",
            description: "Two hours & a gap.",
            value_label: "recipients",
            time_label: "hour (UTC)",
            gap_label: "not collected",
            kind,
            slots: (0..values[0].len()).map(|hour| format!("{hour:02}:00")).collect(),
            series: series.collect(),
            mark: None,
        }
    }

    fn count(text: &str, needle: &str) -> usize {
        text.matches(needle).count()
    }

    #[test]
    fn a_drawing_is_named_for_who_cannot_see_it() {
        let svg = chart(Kind::Bars, &[&[Some(1)]]).to_svg();
        assert!(svg.starts_with("<svg class=\"chart\" role=\"img\" viewBox=\"0 0 720 260\" aria-labelledby=\"mail-title mail-desc\""), "{svg}");
        assert!(svg.contains("<title id=\"mail-title\">Mail &lt;today&gt;</title>"));
        assert!(svg.contains("<desc id=\"mail-desc\">Two hours &amp; a gap.</desc>"));
        assert!(!svg.contains("style=") && !svg.contains("<script"));
    }

    #[test]
    fn bars_stand_upon_one_another_and_zero_is_no_gap() {
        let svg = chart(Kind::Bars, &[&[Some(30), Some(0)], &[Some(20), None]]).to_svg();
        // The scale ends at 50, which is the sum: together the two fill the height.
        assert!(svg.contains("<rect class=\"chart-accepted\" x=\"112.3\" y=\"93.2\" width=\"225.4\" height=\"100.8\"/>"), "{svg}");
        assert!(svg.contains("<rect class=\"chart-refused\" x=\"112.3\" y=\"26\" width=\"225.4\" height=\"67.2\"/>"), "{svg}");
        assert_eq!(count(&svg, "chart-gap"), 0);
        assert!(svg.contains("<title>00:00: sent 30, refused 20</title>"), "{svg}");
        assert!(svg.contains("<title>01:00: sent 0</title>"));
    }

    #[test]
    fn a_gap_is_shown_and_breaks_the_line() {
        let values = [Some(1), Some(2), None, None, Some(3), Some(4)];
        let svg = chart(Kind::Lines, &[&values]).to_svg();
        assert_eq!(count(&svg, "<path class=\"chart-accepted\""), 2);
        // One field in the drawing, one in the legend.
        assert_eq!(count(&svg, "<rect class=\"chart-gap\""), 2);
        assert!(svg.contains("<title>02:00: not collected</title>"));
        assert!(svg.contains(">not collected</text>"));
    }

    #[test]
    fn the_limit_is_always_in_the_picture() {
        let mark = Some(Mark { name: "limit 50", value: 50 });
        let svg = Chart { mark, ..chart(Kind::Bars, &[&[Some(3)]]) }.to_svg();
        assert!(
            svg.contains("<line class=\"chart-mark\" x1=\"64\" y1=\"26\" x2=\"708\" y2=\"26\"/>")
        );
        assert!(svg.contains(">limit 50</text>"));
    }

    #[test]
    fn nothing_is_drawn_beyond_the_bounds() {
        let values = vec![Some(u64::MAX); SLOTS_MAX + 10];
        let mut chart = chart(Kind::Bars, &[&values]);
        chart.series = vec![chart.series[0].clone(); SERIES_MAX + 1];
        let svg = chart.to_svg();
        // Each bar beyond the first has no height left to it, and a legend entry each.
        assert!(count(&svg, "<rect class=\"chart-accepted\"") <= (SLOTS_MAX + 1) * SERIES_MAX);
        assert!(!svg.contains("NaN") && !svg.contains("inf"));
    }

    #[test]
    fn an_empty_drawing_is_a_drawing() {
        for kind in [Kind::Bars, Kind::Lines] {
            let svg = chart(kind, &[&[]]).to_svg();
            assert!(svg.ends_with("</svg>\n") && svg.contains(">recipients</text>"));
        }
    }
}
