//! The table at the end, and the same figures as JSON.

use std::fmt;
use std::path::Path;

use comfy_table::{CellAlignment, ContentArrangement, Table, presets};
use miette::{IntoDiagnostic, Result, WrapErr};
use serde::Serialize;

use crate::plot::{self, Bar};
use crate::statistics::Samples;
use crate::{Case, Unit};

/// What all cases measured.
#[derive(Debug, Serialize)]
pub struct Report {
    cases: Vec<Line>,
}

#[derive(Debug, Serialize)]
struct Line {
    case: String,
    unit: &'static str,
    median: f64,
    least: f64,
    most: f64,
}

impl Line {
    fn bar(&self) -> Bar<'_> {
        let Self { case: name, unit, median, least, most } = self;
        Bar { name, unit, median: *median, least: *least, most: *most }
    }
}

impl Unit {
    const fn text(self) -> &'static str {
        match self {
            Self::NanosecondsPerPacket => "ns a packet",
            Self::NanosecondsPerConnection => "ns a connection",
            Self::ThousandsPerSecond => "thousand a second",
            Self::BytesEach => "bytes each",
            Self::Seconds => "s",
        }
    }
}

impl Report {
    /// A line for each case.
    pub fn new<'a>(measured: impl Iterator<Item = (&'a dyn Case, &'a Samples)>) -> Self {
        let line = |(case, samples): (&dyn Case, &Samples)| {
            let (least, most) = samples.spread();
            let (unit, median) = (case.unit().text(), samples.median());
            Line { case: case.name(), unit, median, least, most }
        };
        Self { cases: measured.map(line).collect() }
    }

    /// Writes the figures into a directory, as `bench.json` and as a picture, `bench.svg`.
    ///
    /// # Errors
    /// When that cannot be written.
    pub fn save(&self, directory: &Path) -> Result<()> {
        let text = serde_json::to_string_pretty(self).into_diagnostic()? + "\n";
        let picture = plot::svg(&self.cases.iter().map(Line::bar).collect::<Vec<_>>());
        std::fs::create_dir_all(directory)
            .into_diagnostic()
            .wrap_err_with(|| directory.display().to_string())?;
        for (name, text) in [("bench.json", text), ("bench.svg", picture)] {
            let file = directory.join(name);
            let shown = || file.display().to_string();
            std::fs::write(&file, text).into_diagnostic().wrap_err_with(shown)?;
        }
        Ok(())
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut table = Table::new();
        table
            .load_preset(presets::UTF8_FULL_CONDENSED)
            .set_content_arrangement(ContentArrangement::Dynamic)
            .set_header(["case", "median", "least", "most", "unit"]);
        for line in &self.cases {
            let number = |number: f64| format!("{number:.1}");
            table.add_row([
                line.case.clone(),
                number(line.median),
                number(line.least),
                number(line.most),
                line.unit.to_owned(),
            ]);
        }
        for column in table.column_iter_mut().skip(1).take(3) {
            column.set_cell_alignment(CellAlignment::Right);
        }
        write!(f, "{table}")
    }
}
