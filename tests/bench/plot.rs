//! Plots with logarithmic axes as SVG, beside each other in one picture.

use std::fmt::Write;

use crate::measure::Figures;

/// One line of a plot: at each place its median, with a bar from the least to the most.
pub struct Series {
    name: String,
    points: Vec<(f64, Figures)>,
    dashed: bool,
}

impl Series {
    pub fn new(name: &str, points: Vec<(f64, Figures)>) -> Series {
        Series { name: name.to_owned(), points, dashed: false }
    }

    pub fn dashed(self) -> Series {
        Series { dashed: true, ..self }
    }
}

/// One plot.
pub struct Plot {
    title: String,
    across: String,
    up: String,
    series: Vec<Series>,
}

impl Plot {
    pub fn new(title: &str, across: &str, up: &str) -> Plot {
        Plot { title: title.to_owned(), across: across.to_owned(), up: up.to_owned(), series: Vec::new() }
    }

    pub fn add(&mut self, series: Series) {
        self.series.push(series);
    }
}

/// Size of one plot's frame, and the room around it, in pixels.
const WIDTH: f64 = 290.0;
const HEIGHT: f64 = 260.0;
const LEFT: f64 = 62.0;
const TOP: f64 = 40.0;
const BELOW: f64 = 62.0;

/// Readable in print, on white and on black, and by those who see colours otherwise (Okabe and Ito).
const COLOURS: [(&str, &str); 4] =
    [("floor", "#808080"), ("flannel-vxlan", "#e69f00"), ("calico-bgp", "#0072b2"), ("calico-ipip", "#009e73")];

/// A logarithmic axis over whole decades.
struct Axis {
    least: f64,
    decades: f64,
    length: f64,
}

impl Axis {
    fn over(values: impl Iterator<Item = f64>, length: f64) -> Axis {
        let (least, most) = values.fold((f64::MAX, f64::MIN), |(a, b), value| (a.min(value), b.max(value)));
        let least = least.max(f64::MIN_POSITIVE).log10().floor();
        Axis { least, decades: (most.max(1.0).log10().ceil() - least).max(1.0), length }
    }

    fn at(&self, value: f64) -> f64 {
        (value.max(f64::MIN_POSITIVE).log10() - self.least) / self.decades * self.length
    }

    fn ticks(&self) -> impl Iterator<Item = f64> {
        (0..=self.decades as i32).map(|step| 10f64.powi(self.least as i32 + step))
    }
}

/// The picture of these plots; `how` says how it was made.
pub fn svg(plots: &[Plot], how: &str) -> String {
    let each = LEFT + WIDTH + 14.0;
    let (width, height) = (each * plots.len() as f64, TOP + HEIGHT + BELOW);
    let mut text = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width} {height}\" width=\"{width}\" \
         height=\"{height}\" font-family=\"sans-serif\" font-size=\"12\">\n<desc>{how}</desc>\n\
         <rect width=\"100%\" height=\"100%\" fill=\"white\"/>\n"
    );
    for (number, plot) in plots.iter().enumerate() {
        let _ = writeln!(text, "<g transform=\"translate({} {TOP})\">", each * number as f64 + LEFT);
        frame(&mut text, plot);
        text.push_str("</g>\n");
    }
    let _ = writeln!(
        text,
        "<text x=\"{LEFT}\" y=\"{}\" font-size=\"10\" fill=\"#555\">{how}; bars: least to most</text>\n</svg>",
        height - 8.0
    );
    text
}

fn frame(text: &mut String, plot: &Plot) {
    let points = || plot.series.iter().flat_map(|series| &series.points);
    let across = Axis::over(points().map(|(x, _)| *x), WIDTH);
    let up = Axis::over(points().flat_map(|(_, y)| [y.least(), y.most()]), HEIGHT);
    let _ = writeln!(text, "<text x=\"0\" y=\"-14\" font-size=\"14\">{}</text>", plot.title);
    for tick in across.ticks() {
        let x = across.at(tick);
        let _ = writeln!(text, "<path d=\"M{x:.1} 0V{HEIGHT}\" stroke=\"#ddd\"/>");
        let _ = writeln!(text, "<text x=\"{x:.1}\" y=\"{}\" text-anchor=\"middle\">{tick}</text>", HEIGHT + 16.0);
    }
    for tick in up.ticks() {
        let y = HEIGHT - up.at(tick);
        let _ = writeln!(text, "<path d=\"M0 {y:.1}H{WIDTH}\" stroke=\"#ddd\"/>");
        let _ = writeln!(text, "<text x=\"-6\" y=\"{:.1}\" text-anchor=\"end\">{tick}</text>", y + 4.0);
    }
    let _ = writeln!(text, "<rect width=\"{WIDTH}\" height=\"{HEIGHT}\" fill=\"none\" stroke=\"#555\"/>");
    let middle = (WIDTH / 2.0, HEIGHT / 2.0);
    let _ = writeln!(
        text,
        "<text x=\"{}\" y=\"{}\" text-anchor=\"middle\">{}</text>\n\
         <text transform=\"translate(-44 {}) rotate(-90)\" text-anchor=\"middle\">{}</text>",
        middle.0,
        HEIGHT + 34.0,
        plot.across,
        middle.1,
        plot.up
    );
    let mut shown = 0;
    for series in &plot.series {
        line(text, series, &across, &up);
        if !series.dashed {
            let (y, colour) = (18.0 + 16.0 * f64::from(shown), colour(&series.name));
            let _ = writeln!(
                text,
                "<path d=\"M10 {:.1}h18\" stroke=\"{colour}\" stroke-width=\"2\"/><text x=\"33\" y=\"{y}\">{}</text>",
                y - 4.0,
                series.name
            );
            shown += 1;
        }
    }
}

fn colour(name: &str) -> &'static str {
    COLOURS.iter().find(|(known, _)| *known == name).map_or("#000", |(_, colour)| colour)
}

fn line(text: &mut String, series: &Series, across: &Axis, up: &Axis) {
    let colour = colour(&series.name);
    let dash = if series.dashed { " stroke-dasharray=\"5 4\"" } else { "" };
    let place = |(x, y): &(f64, Figures)| format!("{:.1},{:.1}", across.at(*x), HEIGHT - up.at(y.median()));
    let places: Vec<String> = series.points.iter().map(place).collect();
    let _ = writeln!(
        text,
        "<polyline points=\"{}\" fill=\"none\" stroke=\"{colour}\" stroke-width=\"2\"{dash}/>",
        places.join(" ")
    );
    for (x, y) in &series.points {
        let (x, low, high) = (across.at(*x), HEIGHT - up.at(y.least()), HEIGHT - up.at(y.most()));
        let _ = writeln!(
            text,
            "<path d=\"M{x:.1} {low:.1}V{high:.1}\" stroke=\"{colour}\" stroke-width=\"1.5\"/>\
             <circle cx=\"{x:.1}\" cy=\"{:.1}\" r=\"2.6\" fill=\"{colour}\"/>",
            HEIGHT - up.at(y.median())
        );
    }
}
