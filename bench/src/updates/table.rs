//! The table, as Markdown that is also read on a terminal.

use std::fmt::Write;

use crate::updates::measured::{Livepatch, Measured, Step};

const COST: [&str; 11] = [
    "change",
    "functions",
    "apply",
    "exits",
    "stopped",
    "jump: exits",
    "stopped",
    "rollback",
    "exits",
    "stopped",
    "paper: apply, rollback (ns)",
];

const BESIDE: [&str; 6] = [
    "change",
    "LUCOS: load, in force",
    "rollback",
    "livepatch: load",
    "in force for all",
    "disable",
];

/// The table: what LUCOS costs, and both beside each other.
#[must_use]
pub fn table(rows: &[Measured]) -> String {
    let cost: Vec<Vec<String>> = rows.iter().map(cost).collect();
    let both: Vec<Vec<String>> = rows.iter().map(beside).collect();
    let mut text = markdown(&COST, &cost);
    text.push('\n');
    text += &markdown(&BESIDE, &both);
    for row in rows {
        if let Livepatch::Refused { error, reason } = &row.livepatch {
            let _ =
                write!(text, "\nThe kernel's error for \"{}\": {error}, `{reason}`.\n", row.title);
        }
    }
    text
}

fn cost(row: &Measured) -> Vec<String> {
    let lucos = &row.lucos;
    let step = |step: &Step| [number(step.exits), number(step.stopped)];
    let whole = |step: &Step| number(step.instructions.unwrap_or(f64::NAN));
    let paper = row.paper.map_or_else(String::new, |paper| {
        format!("{}, {}", number(paper.apply.into()), number(paper.rollback.into()))
    });
    let functions = match row.redirected {
        all if all == row.functions => all.to_string(),
        some => format!("{} ({some} redirected)", row.functions),
    };
    let mut cells = vec![row.title.clone(), functions, whole(&lucos.apply)];
    cells.extend(step(&lucos.apply));
    match lucos.jumps {
        0 => cells.extend([String::from("none"), String::new()]),
        _ => cells.extend(step(&lucos.jump)),
    }
    cells.push(whole(&lucos.rollback));
    cells.extend(step(&lucos.rollback));
    cells.push(paper);
    cells
}

fn beside(row: &Measured) -> Vec<String> {
    let whole = row.lucos.rollback.instructions.unwrap_or(f64::NAN);
    let mut cells = vec![row.title.clone(), number(row.lucos.load), number(whole)];
    cells.extend(match &row.livepatch {
        Livepatch::Complete { load, complete, disable } => {
            [number(*load), number(*complete), number(*disable)]
        }
        Livepatch::Stuck { load, waited, who, cancel } => [
            number(*load),
            format!("never: after {} {who} has the old code", number(*waited)),
            format!("cancelled: {}", number(*cancel)),
        ],
        Livepatch::Refused { error, .. } => [String::from("refused"), error.clone(), String::new()],
    });
    cells
}

/// A whole number in groups of three digits.
fn number(value: f64) -> String {
    let digits = format!("{value:.0}");
    let mut text = String::new();
    for (index, digit) in digits.char_indices() {
        if index > 0 && (digits.len() - index) % 3 == 0 {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

fn markdown(heads: &[&str], rows: &[Vec<String>]) -> String {
    let width = |column: usize| {
        let cells = rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count());
        cells.chain(heads.get(column).map(|head| head.chars().count())).max().unwrap_or_default()
    };
    let widths: Vec<usize> = (0..heads.len()).map(width).collect();
    let mut text = String::new();
    let mut line = |cells: &[&str]| {
        for (index, (cell, &width)) in cells.iter().zip(&widths).enumerate() {
            let _ = match index {
                0 => write!(text, "| {cell:<width$} |"),
                _ => write!(text, " {cell:>width$} |"),
            };
        }
        text.push('\n');
    };
    line(heads);
    let rules: Vec<String> = widths
        .iter()
        .enumerate()
        .map(|(index, &width)| match index {
            0 => "-".repeat(width),
            _ => "-".repeat(width - 1) + ":",
        })
        .collect();
    line(&rules.iter().map(String::as_str).collect::<Vec<_>>());
    for row in rows {
        line(&row.iter().map(String::as_str).collect::<Vec<_>>());
    }
    text
}

#[cfg(test)]
mod tests {
    use super::{markdown, number};

    #[test]
    fn numbers_have_groups() {
        let of = [0.0, 999.0, 1000.4, 12_345.0, 1_234_567.0].map(number);
        assert_eq!(of, ["0", "999", "1,000", "12,345", "1,234,567"]);
    }

    #[test]
    fn columns_are_as_wide_as_their_widest_cell() {
        let rows = [vec![String::from("long word"), String::from("1")]];
        let text = markdown(&["a", "bc"], &rows);
        assert_eq!(text, "| a         | bc |\n| --------- | -: |\n| long word |  1 |\n");
    }
}
