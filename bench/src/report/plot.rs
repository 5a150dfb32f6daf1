//! Plots as SVG, to stand in a page as they are.

use anyhow::{Result, anyhow};
use plotters::coord::ranged1d::{AsRangedCoord, ValueFormatter};
use plotters::prelude::*;

use crate::latency::{Distribution, Micros};
use crate::timeline::Timeline;

const SIZE: (u32, u32) = (1100, 380);
const CAPTION: i32 = 20;
const LABEL: i32 = 14;
/// The plot's edges.
const MARGIN: i32 = 12;
const LEFT: i32 = 80;
const BOTTOM: i32 = 45;
/// The lines' names stand on the right.
const NAMES: u32 = 280;
/// Labels of an axis, about.
const LABELS: usize = 10;
/// A stroke of a line's colour beside its name.
const STROKE: i32 = 18;

/// A line of a plot, and what it is called.
pub(super) struct Line<'a, T> {
    pub(super) name: String,
    pub(super) data: &'a T,
}

/// Megabytes a second over the seconds. Empty if there is nothing to show.
pub(super) fn timelines(
    caption: &str,
    step_s: f64,
    lines: &[Line<'_, Timeline>],
) -> Result<String> {
    let steps = lines.iter().map(|line| line.data.0.len()).max();
    let highest = lines.iter().filter_map(|line| line.data.range());
    let highest = highest.map(|(_, highest)| highest).fold(0.0, f64::max);
    let Some(steps) = steps.filter(|&steps| steps > 1 && highest > 0.0) else {
        return Ok(String::new());
    };
    let points = lines.iter().map(|line| {
        let rates = line.data.0.iter().enumerate();
        let points = rates.map(|(index, &rate)| (index as f64 * step_s, rate));
        (line.name.clone(), points.collect())
    });
    draw(Plot {
        caption,
        across: ("seconds", 0.0..steps as f64 * step_s),
        up: ("MB/s", 0.0..highest * 1.05),
        across_label: &|seconds| format!("{seconds:.1}"),
        up_label: &|rate| format!("{rate:.0}"),
        lines: points.collect(),
    })
}

/// Latencies over percentiles, both in logarithmic steps. Empty if there is nothing to show.
pub(super) fn distributions(caption: &str, lines: &[Line<'_, Distribution>]) -> Result<String> {
    /// What the largest of all would have is infinite.
    const FARTHEST: f64 = 1e6;
    let lines = lines.iter().map(|line| {
        let points = line.data.0.iter();
        let points = points.map(|point| {
            let nines = 1.0 / (1.0 - point.quantile).max(1.0 / FARTHEST);
            (nines, point.us.max(0.1))
        });
        (line.name.clone(), points.collect::<Vec<_>>())
    });
    let lines: Vec<_> = lines.filter(|(_, points)| points.len() > 1).collect();
    let all = || lines.iter().flat_map(|(_, points)| points.iter().copied());
    let least = all().map(|(_, us)| us).fold(f64::INFINITY, f64::min);
    let most = all().map(|(_, us)| us).fold(0.0, f64::max);
    let farthest = all()
        .map(|(nines, _)| nines)
        .filter(|&nines| nines < FARTHEST)
        .fold(10.0, f64::max);
    if lines.is_empty() {
        return Ok(String::new());
    }
    draw(Plot {
        caption,
        across: ("percentile", (1.0..farthest * 2.0).log_scale()),
        up: ("latency", (least * 0.8..most * 1.2).log_scale()),
        across_label: &|nines| percentile(*nines),
        up_label: &|us| Micros(*us).to_string(),
        lines,
    })
}

/// `1.0 / (1.0 - quantile)` as people call it: 10 is 90 %, 1,000 is 99.9 %.
fn percentile(nines: f64) -> String {
    let digits = (nines.log10().round() as usize).saturating_sub(2);
    format!("{:.digits$} %", (1.0 - 1.0 / nines) * 100.0)
}

struct Plot<'a, X, Y> {
    caption: &'a str,
    across: (&'a str, X),
    up: (&'a str, Y),
    across_label: &'a dyn Fn(&f64) -> String,
    up_label: &'a dyn Fn(&f64) -> String,
    lines: Vec<(String, Vec<(f64, f64)>)>,
}

fn draw<X, Y>(plot: Plot<'_, X, Y>) -> Result<String>
where
    X: AsRangedCoord<Value = f64>,
    Y: AsRangedCoord<Value = f64>,
    X::CoordDescType: ValueFormatter<f64>,
    Y::CoordDescType: ValueFormatter<f64>,
{
    let mut svg = String::new();
    draw_into(&mut svg, plot).map_err(|error| anyhow!("cannot draw a plot: {error}"))?;
    Ok(svg)
}

fn draw_into<X, Y>(svg: &mut String, plot: Plot<'_, X, Y>) -> Result<(), Box<dyn std::error::Error>>
where
    X: AsRangedCoord<Value = f64>,
    Y: AsRangedCoord<Value = f64>,
    X::CoordDescType: ValueFormatter<f64>,
    Y::CoordDescType: ValueFormatter<f64>,
{
    let area = SVGBackend::with_string(svg, SIZE).into_drawing_area();
    area.fill(&WHITE)?;
    let (graph, names) = area.split_horizontally(SIZE.0 - NAMES);
    let mut chart = ChartBuilder::on(&graph)
        .caption(plot.caption, ("sans-serif", CAPTION))
        .margin(MARGIN)
        .x_label_area_size(BOTTOM)
        .y_label_area_size(LEFT)
        .build_cartesian_2d(plot.across.1, plot.up.1)?;
    chart
        .configure_mesh()
        .light_line_style(WHITE)
        .y_labels(LABELS)
        .x_desc(plot.across.0)
        .y_desc(plot.up.0)
        .x_label_formatter(plot.across_label)
        .y_label_formatter(plot.up_label)
        .label_style(("sans-serif", LABEL))
        .draw()?;
    for (index, (name, points)) in plot.lines.into_iter().enumerate() {
        let style = Palette99::pick(index).stroke_width(2);
        chart.draw_series(LineSeries::new(points, style))?;
        let y = BOTTOM + index as i32 * LABEL * 3 / 2;
        names.draw(&PathElement::new(
            [(MARGIN, y), (MARGIN + STROKE, y)],
            style,
        ))?;
        let beside = (MARGIN + STROKE + LABEL / 2, y - LABEL / 2);
        names.draw(&Text::new(name, beside, ("sans-serif", LABEL)))?;
    }
    area.present()?;
    Ok(())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

    use super::*;
    use crate::latency::Point;

    #[test]
    fn percentiles_are_called_as_people_call_them() {
        let called: Vec<_> = [2.0, 10.0, 100.0, 1_000.0, 100_000.0]
            .map(percentile)
            .into();
        assert_eq!(called, ["50 %", "90 %", "99 %", "99.9 %", "99.999 %"]);
    }

    #[test]
    fn a_plot_has_a_line_for_each_of_its_figures() {
        let timeline = Timeline(vec![1.0, 3.0, 2.0]);
        let lines = ["one", "another"].map(|name| Line {
            name: name.to_owned(),
            data: &timeline,
        });
        let svg = timelines("Throughput", 0.1, &lines).unwrap();
        assert!(svg.matches("<polyline").count() >= 2, "{svg}");
        for text in ["Throughput", "MB/s", "another"] {
            assert!(svg.contains(text), "{text} is not in {svg}");
        }
        let point = |quantile, us| Point { quantile, us };
        let curve = Distribution(vec![point(0.5, 10.0), point(0.99, 90.0), point(1.0, 200.0)]);
        let line = Line {
            name: "sync".to_owned(),
            data: &curve,
        };
        let svg = distributions("Latency", &[line]).unwrap();
        assert!(svg.contains("sync") && svg.contains("99 %"), "{svg}");
    }

    #[test]
    fn of_nothing_there_is_no_plot() {
        let nothing = Line {
            name: "none".to_owned(),
            data: &Timeline::default(),
        };
        assert_eq!(timelines("Throughput", 0.1, &[nothing]).unwrap(), "");
        assert_eq!(distributions("Latency", &[]).unwrap(), "");
    }
}
