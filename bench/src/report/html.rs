//! The report as one page that needs nothing else: text, and plots as SVG.

use std::fmt::Write;

use anyhow::Result;

use super::plot::{self, Line};
use super::{Report, Throughput};
use crate::latency::Distribution;
use crate::timeline::Timeline;

const STYLE: &str = "body{font-family:sans-serif;max-width:72rem;margin:2rem auto;padding:0 1rem;\
color:#222;background:#fff}pre{overflow-x:auto;background:#f6f6f6;padding:1rem;line-height:1.35}\
svg{max-width:100%;height:auto;display:block;margin:1rem 0}td,th{padding:.2rem .8rem;\
text-align:right}td:first-child,th:first-child{text-align:left}code{background:#f6f6f6}";

/// A page of one run.
pub(crate) fn page(report: &Report) -> Result<String> {
    let mut body = String::new();
    write_run(report, &mut body)?;
    body += &plots_of(report)?;
    Ok(whole("corelog-bench", &body))
}

/// The page around its content.
pub(super) fn whole(title: &str, body: &str) -> String {
    format!(
        "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width\">\n<title>{title}</title>\n\
         <style>{STYLE}</style>\n</head>\n<body>\n<h1>{title}</h1>\n{body}</body>\n</html>\n"
    )
}

/// Facts and figures of a run, as text.
pub(super) fn write_run(report: &Report, out: &mut String) -> std::fmt::Result {
    writeln!(out, "<p><code>{}</code></p>", escaped(&report.command))?;
    writeln!(out, "<pre>{}</pre>", escaped(&report.to_text()))
}

/// All figures of one run, beside each other.
fn plots_of(report: &Report) -> Result<String> {
    let throughput = report.all_throughput();
    let (producing, consuming): (Vec<&Throughput>, Vec<_>) = throughput
        .into_iter()
        .partition(|it| it.acknowledged_after.is_some());
    let timelines = |caption, figures: &[&Throughput]| {
        let lines: Vec<_> = figures.iter().map(|it| timeline_line(it)).collect();
        plot::timelines(caption, report.timeline_step_s, &lines)
    };
    let acknowledgements: Vec<_> = report
        .throughput
        .iter()
        .filter(|it| !it.acknowledgements.is_empty())
        .map(|it| Line {
            name: it.what.clone(),
            data: &it.acknowledgements,
        })
        .collect();
    let latency: Vec<Line<'_, Distribution>> = report
        .latency
        .iter()
        .map(|it| Line {
            name: it.what.clone(),
            data: &it.distribution,
        })
        .collect();
    Ok([
        timelines("Producing, slice after slice", &producing)?,
        timelines("Consuming, slice after slice", &consuming)?,
        plot::distributions("Latency, producer to consumer", &latency)?,
        plot::distributions("Acknowledged after, under full load", &acknowledgements)?,
    ]
    .concat())
}

fn timeline_line(figure: &Throughput) -> Line<'_, Timeline> {
    Line {
        name: figure.what.clone(),
        data: &figure.timeline_mb_per_s,
    }
}

/// Text that stands for itself in a page.
pub(super) fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for letter in text.chars() {
        match letter {
            '&' => out += "&amp;",
            '<' => out += "&lt;",
            '>' => out += "&gt;",
            '"' => out += "&quot;",
            other => out.push(other),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

    use super::super::text::tests::report;
    use super::*;

    #[test]
    fn a_page_holds_the_text_the_command_and_the_plots_and_nothing_from_elsewhere() {
        let mut report = report();
        report.command = "corelog-bench --topic '<a>'".to_owned();
        let page = page(&report).unwrap();
        for part in [
            "corelog-bench --topic '&lt;a&gt;'",
            "produce, written, 1 MiB",
            "Producing, slice after slice",
            "Latency, producer to consumer",
            "Acknowledged after, under full load",
        ] {
            assert!(page.contains(part), "{part} is not in the page");
        }
        assert_eq!(page.matches("<svg").count(), 3);
        assert!(!page.contains("src=") && !page.contains("href="));
    }
}
