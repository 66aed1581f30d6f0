//! Scatter charts with two logarithmic axes, as SVG.
//!
//! No background, and greys and colours that are legible on white and on black: the same file
//! serves light and dark pages.

use std::fmt::{self, Display, Write};

/// Points of one kind.
#[derive(Clone, Debug)]
pub struct Series {
    /// What the legend says.
    pub name: String,
    /// The points.
    pub points: Vec<Point>,
}

/// A point. Both coordinates are to be positive: others have no logarithm, and aren't drawn.
#[derive(Clone, Debug)]
pub struct Point {
    /// On the axis to the right.
    pub x: f64,
    /// On the axis upwards.
    pub y: f64,
    /// What the point is; shown beside it if the chart has labels, and as its tooltip.
    pub name: String,
}

/// A chart; its [`Display`] is the SVG.
#[derive(Clone, Debug)]
pub struct Chart {
    /// Above the chart.
    pub title: String,
    /// What x is, with its unit.
    pub x_label: String,
    /// What y is, with its unit.
    pub y_label: String,
    /// A y that has a meaning, drawn as a dashed line.
    pub mark: Option<f64>,
    /// Whether to write the points' names beside them; for few points.
    pub names: bool,
    /// What to draw, the first below the others.
    pub series: Vec<Series>,
}

const WIDTH: f64 = 860.0;
const HEIGHT: f64 = 500.0;
/// Where the axes are: left, top, right, bottom.
const FRAME: (f64, f64, f64, f64) = (78.0, 44.0, 842.0, 438.0);
const COLOURS: [&str; 4] = ["#3d8bd4", "#e0812c", "#3da35d", "#b565c9"];

const STYLE: &str = "text{font:13px system-ui,sans-serif;fill:#808080}\
.title{font-weight:600;font-size:15px}.name{font-size:10px}\
.grid{stroke:#808080;stroke-opacity:.25}.axis{stroke:#808080;fill:none}\
.mark{stroke:#808080;stroke-dasharray:6 4}";

/// A logarithmic axis: from a range of values to a range of pixels.
#[derive(Clone, Copy, Debug)]
struct Axis {
    low: f64,
    high: f64,
    pixels: (f64, f64),
}

impl Axis {
    /// An axis that holds all `values`, from one tick to another.
    fn new(values: impl Iterator<Item = f64>, pixels: (f64, f64)) -> Self {
        let (low, high) = values
            .filter(|value| drawable(*value))
            .fold((f64::INFINITY, 0.0f64), |(low, high), value| (low.min(value), high.max(value)));
        if low > high {
            return Self { low: 1.0, high: 10.0, pixels };
        }
        let low = ticks_from(low).next().unwrap_or(low);
        let high = ticks_from(low).find(|&tick| tick > high).unwrap_or(high);
        Self { low, high, pixels }
    }

    fn place(&self, value: f64) -> f64 {
        let share = (value / self.low).ln() / (self.high / self.low).ln();
        self.pixels.0 + share * (self.pixels.1 - self.pixels.0)
    }

    /// The ticks, thinned to powers of ten where they would be dense.
    fn ticks(&self) -> Vec<f64> {
        let all: Vec<f64> =
            ticks_from(self.low).take_while(|&tick| tick <= self.high * 1.000_001).collect();
        if all.len() <= 13 {
            return all;
        }
        all.into_iter().filter(|tick| (tick.log10() - tick.log10().round()).abs() < 1e-6).collect()
    }
}

fn drawable(value: f64) -> bool {
    value.is_finite() && value > 0.0
}

/// 1, 2 and 5 times the powers of ten, from the last one that isn't above `value`.
fn ticks_from(value: f64) -> impl Iterator<Item = f64> {
    let first = value.log10().floor() as i32;
    (first..first + 30)
        .flat_map(|power| [1.0, 2.0, 5.0].map(|digit| digit * 10f64.powi(power)))
        .skip_while(move |&tick| next_tick(tick) <= value * 1.000_001)
}

fn next_tick(tick: f64) -> f64 {
    let digit = tick / 10f64.powi((tick.log10() + 1e-9).floor() as i32);
    if (1.5..3.0).contains(&digit) { tick * 2.5 } else { tick * 2.0 }
}

impl Display for Chart {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (left, top, right, bottom) = FRAME;
        let points = || self.series.iter().flat_map(|series| &series.points);
        let x = Axis::new(points().map(|point| point.x), (left, right));
        let y = Axis::new(points().map(|point| point.y).chain(self.mark), (bottom, top));
        writeln!(
            f,
            "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" \
             width=\"{WIDTH}\" height=\"{HEIGHT}\" role=\"img\"><style>{STYLE}</style>"
        )?;
        writeln!(f, "<title>{}</title>", escape(&self.title))?;
        self.write_axes(f, &x, &y)?;
        for (index, series) in self.series.iter().enumerate() {
            self.write_series(f, index, series, (&x, &y))?;
        }
        writeln!(f, "</svg>")
    }
}

impl Chart {
    fn write_axes(&self, f: &mut fmt::Formatter<'_>, x: &Axis, y: &Axis) -> fmt::Result {
        let (left, top, right, bottom) = FRAME;
        for tick in x.ticks() {
            let at = x.place(tick);
            writeln!(f, "<path class=\"grid\" d=\"M{at:.1} {top}V{bottom}\"/>")?;
            let (text, below) = (number(tick), bottom + 19.0);
            writeln!(f, "<text x=\"{at:.1}\" y=\"{below}\" text-anchor=\"middle\">{text}</text>")?;
        }
        for tick in y.ticks() {
            let at = y.place(tick);
            writeln!(f, "<path class=\"grid\" d=\"M{left} {at:.1}H{right}\"/>")?;
            let (text, beside, base) = (number(tick), left - 8.0, at + 4.5);
            writeln!(f, "<text x=\"{beside}\" y=\"{base:.1}\" text-anchor=\"end\">{text}</text>")?;
        }
        if let Some(mark) = self.mark.filter(|&mark| drawable(mark)) {
            writeln!(f, "<path class=\"mark\" d=\"M{left} {:.1}H{right}\"/>", y.place(mark))?;
        }
        writeln!(f, "<path class=\"axis\" d=\"M{left} {top}V{bottom}H{right}\"/>")?;
        writeln!(f, "<text class=\"title\" x=\"{left}\" y=\"24\">{}</text>", escape(&self.title))?;
        let (middle, under) = ((left + right) / 2.0, bottom + 44.0);
        let label = escape(&self.x_label);
        writeln!(f, "<text x=\"{middle}\" y=\"{under}\" text-anchor=\"middle\">{label}</text>")?;
        let (middle, label) = ((top + bottom) / 2.0, escape(&self.y_label));
        writeln!(
            f,
            "<text transform=\"translate(20 {middle}) rotate(-90)\" text-anchor=\"middle\">{label}</text>"
        )
    }

    fn write_series(
        &self,
        f: &mut fmt::Formatter<'_>,
        index: usize,
        series: &Series,
        (x, y): (&Axis, &Axis),
    ) -> fmt::Result {
        let colour = COLOURS[index % COLOURS.len()];
        let radius = if self.names { 4.0 } else { 2.2 };
        let (dot, text) = (FRAME.2 - 100.0, FRAME.2 - 90.0);
        let line = FRAME.1 - 14.0 - 17.0 * (self.series.len() - 1 - index) as f64 / 2.0;
        writeln!(f, "<circle cx=\"{dot}\" cy=\"{:.1}\" r=\"4\" fill=\"{colour}\"/>", line - 4.0)?;
        writeln!(f, "<text x=\"{text}\" y=\"{line:.1}\">{}</text>", escape(&series.name))?;
        writeln!(f, "<g fill=\"{colour}\" fill-opacity=\".6\">")?;
        let drawn = series.points.iter().filter(|point| drawable(point.x) && drawable(point.y));
        for point in drawn {
            let (at_x, at_y, name) = (x.place(point.x), y.place(point.y), escape(&point.name));
            writeln!(
                f,
                "<circle cx=\"{at_x:.1}\" cy=\"{at_y:.1}\" r=\"{radius}\"><title>{name}</title></circle>"
            )?;
            // One name for all the points of a contract: that of the last series.
            if self.names && index + 1 == self.series.len() {
                let (beside, base) = (at_x + 7.0, at_y + 3.5);
                writeln!(
                    f,
                    "<text class=\"name\" x=\"{beside:.1}\" y=\"{base:.1}\">{name}</text>"
                )?;
            }
        }
        writeln!(f, "</g>")
    }
}

/// A tick's number: `0.05`, `2`, `500`, `10k`.
fn number(value: f64) -> String {
    match value {
        value if value >= 1e6 => format!("{}M", value / 1e6),
        value if value >= 1e4 => format!("{}k", value / 1e3),
        value => {
            let digits = (-value.log10()).ceil().max(0.0) as usize;
            format!("{value:.digits$}")
        }
    }
}

fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '&' => escaped.push_str("&amp;"),
            '"' => escaped.push_str("&quot;"),
            character if character.is_control() => escaped.push(' '),
            // Writing to a `String` doesn't fail.
            character => drop(write!(escaped, "{character}")),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chart(points: Vec<Point>) -> Chart {
        let series = vec![Series { name: "a<b".into(), points }];
        let label = String::new;
        Chart {
            title: label(),
            x_label: label(),
            y_label: label(),
            mark: None,
            names: true,
            series,
        }
    }

    #[test]
    fn ticks_surround_the_values() {
        for (low, high, first, last) in
            [(36.0, 24_576.0, 20.0, 50_000.0), (0.87, 14.0, 0.5, 20.0), (1.0, 1.0, 1.0, 2.0)]
        {
            let axis = Axis::new([high, low].into_iter(), (0.0, 1.0));
            let near = |a: f64, b: f64| (a / b - 1.0).abs() < 1e-9;
            assert!(near(axis.low, first) && near(axis.high, last), "{axis:?}");
            assert!((0.0..=1.0).contains(&axis.place(low)));
            assert!((0.0..=1.0).contains(&axis.place(high)));
            assert!(axis.ticks().len() >= 2);
        }
    }

    #[test]
    fn tick_numbers() {
        let numbers = [0.05, 0.2, 1.0, 50.0, 20_000.0].map(number);
        assert_eq!(numbers, ["0.05", "0.2", "1", "50", "20k"]);
    }

    #[test]
    fn what_has_no_logarithm_is_left_out() {
        let point = |x, y| Point { x, y, name: "\"p\" & q".into() };
        let text = chart(vec![point(10.0, 2.0), point(0.0, 1.0), point(1.0, f64::NAN)]).to_string();
        assert_eq!(text.matches("<title>&quot;p&quot; &amp; q</title>").count(), 1);
        assert!(text.contains("a&lt;b") && !text.contains("NaN"));
        assert!(!chart(vec![]).to_string().contains("NaN"), "an empty chart has axes too");
    }
}
