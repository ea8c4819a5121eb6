//! Aligned tables for people.

/// Rows of cells; numbers are set to the right.
pub(super) struct Table {
    rows: Vec<Vec<String>>,
}

impl Table {
    /// A table with these headings.
    pub(super) fn new(headings: &[&str]) -> Self {
        Self { rows: vec![headings.iter().map(|&heading| heading.to_owned()).collect()] }
    }

    /// A table without headings.
    pub(super) const fn plain() -> Self {
        Self { rows: Vec::new() }
    }

    pub(super) fn row<const N: usize>(&mut self, cells: [String; N]) {
        self.rows.push(cells.map(|cell| shown(&cell)).into());
    }

    /// The table as text, two blanks between columns, none at the end of a line.
    pub(super) fn render(&self, indent: &str) -> String {
        let widths = self.widths();
        let mut text = String::new();
        for row in &self.rows {
            let mut line = String::from(indent);
            for (cell, width) in row.iter().zip(&widths) {
                push_cell(&mut line, cell, *width);
                line.push_str("  ");
            }
            text.push_str(line.trim_end());
            text.push('\n');
        }
        text
    }

    fn widths(&self) -> Vec<usize> {
        let mut widths = Vec::new();
        for row in &self.rows {
            widths.resize(widths.len().max(row.len()), 0);
            for (width, cell) in widths.iter_mut().zip(row) {
                *width = cell.chars().count().max(*width);
            }
        }
        widths
    }
}

fn push_cell(line: &mut String, cell: &str, width: usize) {
    let padding = " ".repeat(width.saturating_sub(cell.chars().count()));
    let is_number = !cell.is_empty() && cell.bytes().all(|octet| octet.is_ascii_digit());
    if is_number {
        line.push_str(&padding);
        line.push_str(cell);
    } else {
        line.push_str(cell);
        line.push_str(&padding);
    }
}

/// Names and replies come from strangers; a terminal must not obey them.
pub(super) fn shown(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { '?' } else { c }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_aligned() {
        let mut table = Table::new(&["who", "used", "next"]);
        table.row(["a@shop.example".into(), "5".into(), String::new()]);
        table.row(["é\u{1b}".into(), "50".into(), "now".into()]);
        assert_eq!(
            table.render(" "),
            " who             used  next\n a@shop.example     5\n é?                50  now\n"
        );
    }
}
