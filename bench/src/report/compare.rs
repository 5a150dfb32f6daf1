//! Several reports beside each other: what each figure came to in every run, and as a ratio to the first.

use std::fmt::{self, Write};

use anyhow::{Result, ensure};

use super::html::{escaped, whole, write_run};
use super::plot::{self, Line};
use super::{Latency, Report, Throughput};
use crate::latency::Micros;
use crate::quantity::Thousands;

/// A report and what to call it.
pub(crate) struct Run {
    pub(crate) name: String,
    pub(crate) report: Report,
}

/// What the runs came to, by the name of the figure, in the order in which they name them.
pub(crate) struct Comparison {
    runs: Vec<Run>,
}

/// One row of the table: a figure of each run that has it.
struct Row {
    what: String,
    unit: &'static str,
    figures: Vec<Option<f64>>,
    show: fn(f64) -> String,
}

impl Comparison {
    /// # Errors
    /// There is nothing to compare.
    pub(crate) fn new(runs: Vec<Run>) -> Result<Self> {
        ensure!(runs.len() > 1, "a comparison needs two reports at least");
        let comparison = Self { runs };
        ensure!(
            !comparison.rows().is_empty(),
            "the reports hold no figures to compare"
        );
        Ok(comparison)
    }

    pub(crate) fn to_text(&self) -> String {
        let mut out = String::new();
        self.write_text(&mut out).expect("a String takes all text");
        out
    }

    fn write_text(&self, out: &mut String) -> fmt::Result {
        for (number, run) in (1..).zip(&self.runs) {
            writeln!(out, "[{number}] {}: {}", run.name, run.report.command)?;
        }
        write!(out, "\n{:<44}{:<8}", "", "")?;
        for number in 1..=self.runs.len() {
            write!(out, "{:>12}", format!("[{number}]"))?;
        }
        for number in 2..=self.runs.len() {
            write!(out, "{:>10}", format!("[{number}]/[1]"))?;
        }
        writeln!(out)?;
        for row in self.rows() {
            write!(out, "{:<44}{:<8}", row.what, row.unit)?;
            for figure in &row.figures {
                write!(out, "{:>12}", figure.map_or("-".into(), row.show))?;
            }
            for ratio in row.ratios() {
                write!(out, "{:>10}", shown_ratio(ratio))?;
            }
            writeln!(out)?;
        }
        Ok(())
    }

    /// The table, then each figure's plot with a line for every run, then the runs themselves.
    ///
    /// # Errors
    /// A plot cannot be drawn.
    pub(crate) fn to_html(&self) -> Result<String> {
        let mut body = self.table()?;
        for what in names(&self.runs, throughput) {
            let lines = lines(&self.runs, throughput, &what, |it| &it.timeline_mb_per_s);
            let step = self.runs[0].report.timeline_step_s;
            body += &plot::timelines(&what, step, &lines)?;
            let lines = self::lines(&self.runs, throughput, &what, |it| &it.acknowledgements);
            body += &plot::distributions(&format!("{what}: acknowledged after"), &lines)?;
        }
        for what in names(&self.runs, latency) {
            let lines = lines(&self.runs, latency, &what, |it| &it.distribution);
            let caption = format!("{what}: latency, producer to consumer");
            body += &plot::distributions(&caption, &lines)?;
        }
        for run in &self.runs {
            writeln!(body, "<h2>{}</h2>", escaped(&run.name))?;
            write_run(&run.report, &mut body)?;
        }
        Ok(whole("corelog-bench: comparison", &body))
    }

    fn table(&self) -> Result<String, fmt::Error> {
        let mut out = String::from("<table>\n<tr><th></th><th></th>");
        for run in &self.runs {
            write!(out, "<th>{}</th>", escaped(&run.name))?;
        }
        for run in &self.runs[1..] {
            let (name, first) = (escaped(&run.name), escaped(&self.runs[0].name));
            write!(out, "<th>{name} / {first}</th>")?;
        }
        out += "</tr>\n";
        for row in self.rows() {
            write!(
                out,
                "<tr><td>{}</td><td>{}</td>",
                escaped(&row.what),
                row.unit
            )?;
            for figure in &row.figures {
                write!(out, "<td>{}</td>", figure.map_or("-".into(), row.show))?;
            }
            for ratio in row.ratios() {
                write!(out, "<td>{}</td>", shown_ratio(ratio))?;
            }
            out += "</tr>\n";
        }
        out += "</table>\n";
        Ok(out)
    }

    fn rows(&self) -> Vec<Row> {
        let mut rows = Vec::new();
        let thousands: fn(f64) -> String = |figure| Thousands::of(figure).to_string();
        for what in names(&self.runs, throughput) {
            rows.push(self.row(&what, "MB/s", thousands, throughput, |it| it.mb_per_s));
        }
        let micros: fn(f64) -> String = |us| Micros(us).to_string();
        for what in names(&self.runs, latency) {
            rows.push(self.row(&what, "p50", micros, latency, |it| it.measured.p50_us));
            rows.push(self.row(&what, "p99", micros, latency, |it| it.measured.p99_us));
        }
        rows
    }

    fn row<T: Figure>(
        &self,
        what: &str,
        unit: &'static str,
        show: fn(f64) -> String,
        figures: fn(&Report) -> Vec<&T>,
        of: impl Fn(&T) -> f64,
    ) -> Row {
        let figure = |run: &Run| {
            let mut all = figures(&run.report).into_iter();
            all.find(|it| it.what() == what).map(&of)
        };
        Row {
            what: what.to_owned(),
            unit,
            figures: self.runs.iter().map(figure).collect(),
            show,
        }
    }
}

impl Row {
    /// To the first run, of each other one.
    fn ratios(&self) -> impl Iterator<Item = Option<f64>> {
        let first = self.figures[0].filter(|&first| first > 0.0);
        let others = self.figures[1..].iter();
        others.map(move |figure| Some(figure.as_ref()? / first?))
    }
}

fn shown_ratio(ratio: Option<f64>) -> String {
    ratio.map_or("-".into(), |ratio| format!("{ratio:.2}"))
}

/// A line of a report.
trait Figure {
    fn what(&self) -> &str;
}

impl Figure for Throughput {
    fn what(&self) -> &str {
        &self.what
    }
}

impl Figure for Latency {
    fn what(&self) -> &str {
        &self.what
    }
}

fn throughput(report: &Report) -> Vec<&Throughput> {
    report.all_throughput()
}

fn latency(report: &Report) -> Vec<&Latency> {
    report.latency.iter().collect()
}

/// The names of all runs' figures, each once.
fn names<T: Figure>(runs: &[Run], figures: fn(&Report) -> Vec<&T>) -> Vec<String> {
    let mut names: Vec<String> = Vec::new();
    for figure in runs.iter().flat_map(|run| figures(&run.report)) {
        if !names.iter().any(|name| name == figure.what()) {
            names.push(figure.what().to_owned());
        }
    }
    names
}

/// What one figure's plot shows: a line for each run that has it.
fn lines<'a, T: Figure + 'a, D>(
    runs: &'a [Run],
    figures: fn(&'a Report) -> Vec<&'a T>,
    what: &str,
    data: impl Fn(&'a T) -> &'a D,
) -> Vec<Line<'a, D>> {
    let line = |run: &'a Run| {
        let found = figures(&run.report).into_iter();
        let figure = found.into_iter().find(|it| it.what() == what)?;
        Some(Line {
            name: run.name.clone(),
            data: data(figure),
        })
    };
    runs.iter().filter_map(line).collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

    use super::super::text::tests::report;
    use super::*;

    fn runs() -> Vec<Run> {
        let mut faster = report();
        faster.throughput[0].mb_per_s *= 2.0;
        faster.latency.clear();
        let named = |name: &str, report| Run {
            name: name.to_owned(),
            report,
        };
        vec![named("before", report()), named("<after>", faster)]
    }

    #[test]
    fn figures_of_the_same_name_stand_beside_each_other_with_their_ratio() {
        let text = Comparison::new(runs()).unwrap().to_text();
        let line = |start: &str| {
            let found = text.lines().find(|line| line.starts_with(start));
            found.unwrap_or_else(|| panic!("no line {start:?} in:\n{text}"))
        };
        let produce: Vec<_> = line("produce, written, 1 MiB").split_whitespace().collect();
        assert_eq!(produce[produce.len() - 3..], ["750", "1,500", "2.00"]);
        // What one of them does not have is no figure of it.
        assert!(line("sync, one at a time").trim_end().ends_with("-"));
    }

    #[test]
    fn the_page_has_the_table_the_plots_and_every_run() {
        let page = Comparison::new(runs()).unwrap().to_html().unwrap();
        for part in ["2.00", "&lt;after&gt; / before", "<h2>before</h2>"] {
            assert!(page.contains(part), "{part} is not in the page");
        }
        assert_eq!(page.matches("<svg").count(), 3);
    }

    #[test]
    fn one_report_is_no_comparison() {
        let mut runs = runs();
        runs.pop();
        assert!(Comparison::new(runs).is_err());
    }
}
