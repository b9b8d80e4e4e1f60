//! The figures as a picture: a bar for each case, from 0 to its median, with a line from the least to the most.

use std::fmt::Write;

/// A bar.
pub struct Bar<'a> {
    pub name: &'a str,
    pub unit: &'a str,
    pub median: f64,
    pub least: f64,
    pub most: f64,
}

/// Widths of the names, of the longest bar and of the figures behind it, and the height of a bar, in pixels.
const NAMES: f64 = 560.0;
const LONGEST: f64 = 420.0;
const FIGURES: f64 = 220.0;
const HEIGHT: f64 = 22.0;

/// An SVG picture. Bars of one unit have one scale.
pub fn svg(bars: &[Bar<'_>]) -> String {
    let (width, height) =
        (NAMES + LONGEST + FIGURES, bars.iter().map(|_| HEIGHT).sum::<f64>() + HEIGHT);
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width} {height}\" font-family=\"sans-serif\" font-size=\"12\">\n\
         <rect width=\"{width}\" height=\"{height}\" fill=\"white\"/>\n"
    );
    for (number, bar) in (0..).map(f64::from).zip(bars) {
        let longest = bars
            .iter()
            .filter(|other| other.unit == bar.unit)
            .map(|other| other.most)
            .fold(0.0, f64::max);
        let scale = |figure: f64| {
            if longest > 0.0 { figure.clamp(0.0, longest) / longest * LONGEST } else { 0.0 }
        };
        let (top, middle) = (HEIGHT * (number + 0.5), HEIGHT * (number + 1.0));
        let (text, right) = (middle + 4.0, NAMES + 8.0);
        let (least, most) = (right + scale(bar.least), right + scale(bar.most));
        // Into a String nothing fails.
        let _ = writeln!(
            svg,
            "<text x=\"{NAMES}\" y=\"{text}\" text-anchor=\"end\">{}</text>\
             <rect x=\"{right}\" y=\"{}\" width=\"{:.1}\" height=\"{}\" fill=\"{}\"/>\
             <line x1=\"{least:.1}\" x2=\"{most:.1}\" y1=\"{middle}\" y2=\"{middle}\" stroke=\"black\"/>\
             <text x=\"{:.1}\" y=\"{text}\">{:.1} {}</text>",
            escaped(bar.name),
            top + 4.0,
            scale(bar.median),
            HEIGHT - 8.0,
            color(bar.name),
            most + 6.0,
            bar.median,
            escaped(bar.unit)
        );
    }
    svg + "</svg>\n"
}

/// One colour for all cases of a program.
fn color(name: &str) -> &'static str {
    match name.rsplit(": ").next() {
        Some("Penstock") => "#2a7ab9",
        Some("OVS") => "#d98c21",
        Some(subject) if subject.starts_with("testpmd") => "#8a8a8a",
        _ => "#57a773",
    }
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bars_of_one_unit_have_one_scale() {
        let bar = |name, unit, most| Bar { name, unit, median: most / 2.0, least: 0.0, most };
        let svg =
            svg(&[bar("a<b", "ns", 100.0), bar("c: OVS", "ns", 50.0), bar("d", "bytes", 7.0)]);
        assert!(svg.contains("a&lt;b"));
        for width in [
            "width=\"210.0\" height=\"14\" fill=\"#57a773\"",
            "width=\"105.0\" height=\"14\" fill=\"#d98c21\"",
        ] {
            assert!(svg.contains(width), "{width}: {svg}");
        }
        assert!(svg.starts_with("<svg") && svg.ends_with("</svg>\n"));
    }
}
