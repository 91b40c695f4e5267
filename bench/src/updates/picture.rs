//! The table's picture: how long until a change is in force, on a scale of powers of ten.

use std::io;

use plotters::prelude::{
    BLACK, ChartBuilder, Color, DrawingAreaErrorKind, IntoDrawingArea, IntoLogRange, IntoTextStyle,
    RGBColor, Rectangle, SVGBackend, SeriesLabelPosition, Text, WHITE,
};
use plotters::style::text_anchor::{HPos, Pos, VPos};

use crate::updates::measured::{Livepatch, Measured};

/// Why there is no picture.
#[derive(Debug, thiserror::Error)]
#[error("the picture cannot be drawn: {0}")]
pub struct PictureError(String);

impl From<DrawingAreaErrorKind<io::Error>> for PictureError {
    fn from(error: DrawingAreaErrorKind<io::Error>) -> Self {
        Self(error.to_string())
    }
}

/// Width and height.
const SIZE: (u32, u32) = (1000, 480);
/// Where the scale begins, in ticks.
const LOWEST: f64 = 1e3;
const FONT: &str = "sans-serif";

/// A kind of bar.
struct Kind {
    label: &'static str,
    color: RGBColor,
    bar: fn(&Measured) -> Bar,
}

#[derive(Clone, Copy)]
enum Bar {
    Ticks(f64),
    /// There is no end to it.
    Never,
    /// There is nothing to show, and this is why.
    None(&'static str),
}

const KINDS: [Kind; 3] = [
    Kind {
        label: "LUCOS: the guest stands still",
        color: RGBColor(0x2c, 0x7f, 0xb8),
        bar: |row| Bar::Ticks(row.lucos.apply.stopped.max(row.lucos.jump.stopped)),
    },
    Kind {
        label: "LUCOS: load the module, in force for all",
        color: RGBColor(0x7f, 0xcd, 0xbb),
        bar: |row| Bar::Ticks(row.lucos.load),
    },
    Kind {
        label: "guest's livepatch: load the module, in force for all",
        color: RGBColor(0xd9, 0x5f, 0x0e),
        bar: |row| match &row.livepatch {
            Livepatch::Complete { complete, .. } => Bar::Ticks(*complete),
            Livepatch::Stuck { .. } => Bar::Never,
            Livepatch::Refused { .. } => Bar::None("refused"),
        },
    },
];

/// The picture as SVG.
///
/// # Errors
/// When the drawing crate refuses.
pub fn picture(rows: &[Measured]) -> Result<String, PictureError> {
    let mut svg = String::new();
    draw(rows, &mut svg)?;
    Ok(svg)
}

fn draw(rows: &[Measured], svg: &mut String) -> Result<(), PictureError> {
    let ticks = rows.iter().flat_map(|row| KINDS.iter().map(move |kind| (kind.bar)(row)));
    let highest = ticks.fold(LOWEST, |highest, bar| match bar {
        Bar::Ticks(ticks) => highest.max(ticks),
        Bar::Never | Bar::None(_) => highest,
    });
    let top = 10f64.powf(highest.log10().ceil() + 1.0);
    let root = SVGBackend::with_string(svg, SIZE).into_drawing_area();
    root.fill(&WHITE)?;
    let mut chart = ChartBuilder::on(&root)
        .margin(16)
        .x_label_area_size(30)
        .y_label_area_size(70)
        .build_cartesian_2d(0.0..rows.len() as f64, (LOWEST..top).log_scale())?;
    chart
        .configure_mesh()
        .disable_x_mesh()
        .x_labels(0)
        .y_label_formatter(&|ticks| format!("10^{:.0}", ticks.log10()))
        .y_desc("instructions, or ns while the guest waits")
        .label_style((FONT, 13))
        .draw()?;
    let middle = Pos::new(HPos::Center, VPos::Bottom);
    let small = (FONT, 12).into_text_style(&root).color(&BLACK).pos(middle);
    for (number, kind) in KINDS.iter().enumerate() {
        let mut bars = Vec::new();
        let mut words = Vec::new();
        for (row, measured) in rows.iter().enumerate() {
            let left = row as f64 + 0.12 + number as f64 * 0.26;
            let (height, style, word) = match (kind.bar)(measured) {
                Bar::Ticks(ticks) => (ticks, kind.color.filled(), short(ticks)),
                Bar::Never => (top, kind.color.mix(0.4).filled(), String::from("never")),
                Bar::None(why) => (LOWEST, kind.color.filled(), why.to_owned()),
            };
            bars.push(Rectangle::new([(left, LOWEST), (left + 0.24, height)], style));
            // A word above a bar that reaches the top would be outside.
            let place = height.min(top / 3.0);
            words.push(Text::new(word, (left + 0.12, place * 1.1), small.clone()));
        }
        let color = kind.color;
        chart
            .draw_series(bars)?
            .label(kind.label)
            .legend(move |(x, y)| Rectangle::new([(x, y - 5), (x + 12, y + 5)], color.filled()));
        chart.draw_series(words)?;
    }
    let under = Pos::new(HPos::Center, VPos::Top);
    let names = (FONT, 14).into_text_style(&root).color(&BLACK).pos(under);
    for (row, measured) in rows.iter().enumerate() {
        let (x, y) = chart.backend_coord(&(row as f64 + 0.5, LOWEST));
        let plural = if measured.functions == 1 { "" } else { "s" };
        let text = format!("{} ({} function{plural})", measured.name, measured.functions);
        root.draw(&Text::new(text, (x, y + 8), names.clone()))?;
    }
    chart
        .configure_series_labels()
        .position(SeriesLabelPosition::UpperLeft)
        .background_style(WHITE.filled())
        .border_style(BLACK.mix(0.3))
        .label_font((FONT, 13))
        .draw()?;
    root.present()?;
    Ok(())
}

/// A number with three digits that count.
fn short(ticks: f64) -> String {
    match ticks {
        ticks if ticks >= 1e9 => format!("{:.1} G", ticks / 1e9),
        ticks if ticks >= 1e6 => format!("{:.1} M", ticks / 1e6),
        ticks => format!("{:.1} k", ticks / 1e3),
    }
}
