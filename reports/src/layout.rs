//! Columns and seconds.
//!
//! Not here: what stands in the columns.

/// Rows as lines: every column as wide as its widest cell, two spaces between, no blanks at the end of a line.
pub(crate) fn columns(rows: &[Vec<String>]) -> Vec<String> {
    let count = rows.iter().map(Vec::len).max().unwrap_or(0);
    let width = |column: usize| {
        rows.iter()
            .filter_map(|row| row.get(column))
            .map(|cell| cell.chars().count())
            .max()
    };
    let widths: Vec<usize> = (0..count).map(|column| width(column).unwrap_or(0)).collect();
    rows.iter()
        .map(|row| {
            let cells: Vec<String> = row.iter().zip(&widths).map(|(cell, &width)| padded(cell, width)).collect();
            cells.join("  ").trim_end().to_owned()
        })
        .collect()
}

/// A cell with blanks up to a width, which may be wider than a format takes. What would move a terminal's cursor or change its
/// colours is shown and not obeyed.
fn padded(cell: &str, width: usize) -> String {
    let blanks = width.saturating_sub(cell.chars().count());
    let shown = cell.chars().map(|c| if c.is_control() && c != '\n' { '\u{fffd}' } else { c });
    shown.chain(std::iter::repeat_n(' ', blanks)).collect()
}

/// Nanoseconds as seconds: three decimals, and as many more as it takes to lose nothing.
pub(crate) fn seconds(ns: u64) -> String {
    let (whole, fraction) = (ns / 1_000_000_000, ns % 1_000_000_000);
    let digits = format!("{fraction:09}");
    let (milli, rest) = digits.split_at(3);
    format!("{whole}.{milli}{}", rest.trim_end_matches('0'))
}

#[cfg(test)]
mod tests {
    use super::{columns, seconds};

    #[test]
    fn seconds_lose_nothing_and_show_at_least_milliseconds() {
        let shown: Vec<String> = [0, 1_500_000_000, 125_000, 12_000_000_001].into_iter().map(seconds).collect();
        assert_eq!(shown, ["0.000", "1.500", "0.000125", "12.000000001"]);
    }

    #[test]
    fn a_cell_may_be_wider_than_a_format_takes_and_commands_no_terminal() {
        let rows = [
            vec!["x".repeat(70_000), "b".to_owned()],
            vec!["\u{1b}[31m".to_owned(), "c".to_owned()],
        ];
        let lines = columns(&rows);
        assert!(lines[0].ends_with("x  b") && lines[1].starts_with("\u{fffd}[31m "));
        assert_eq!(lines[0].chars().count(), lines[1].chars().count());
    }

    #[test]
    fn columns_align_and_leave_no_blanks_behind() {
        let rows = [
            vec!["a".to_owned(), "b".to_owned()],
            vec!["long".to_owned(), String::new(), "c".to_owned()],
        ];
        assert_eq!(columns(&rows), ["a     b", "long     c"]);
    }
}
