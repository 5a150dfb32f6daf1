//! The report for people: one screen, figures under figures.

mod group;

use std::fmt::{self, Write};

use super::{Knee, Latency, Report, Throughput};
use crate::ceilings::Ceilings;
use crate::latency::{LatencySummary, Micros};
use crate::quantity::{ByteSize, Thousands};

pub(super) fn render(report: &Report) -> String {
    let mut out = String::new();
    write_all(report, &mut out).expect("a String takes all text");
    out
}

fn write_all(report: &Report, out: &mut String) -> fmt::Result {
    write_head(report, out)?;
    if let Some(ceilings) = &report.ceilings {
        write_ceilings(ceilings, out)?;
    }
    if !report.throughput.is_empty() {
        write_throughput("Throughput", "ceiling", &report.throughput, out)?;
    }
    write_timelines(&report.all_throughput(), out)?;
    if !report.latency.is_empty() {
        write_latency(&report.latency, report.tails_are_void(), out)?;
    }
    if !report.knees.is_empty() {
        write_knees(&report.knees, out)?;
    }
    if let Some(group) = &report.group {
        group::write(group, out)?;
    }
    write_end(report, out)
}

fn write_head(report: &Report, out: &mut String) -> fmt::Result {
    let (machine, settings) = (&report.machine, &report.settings);
    write!(
        out,
        "Corelog {} on Linux {}, ",
        report.version, machine.kernel
    )?;
    write!(out, "{}", counted(machine.cores, "core"))?;
    if let Some(cpu) = &machine.cpu {
        write!(out, " ({cpu})")?;
    }
    if let Some(governor) = &machine.governor {
        write!(out, ", governor {governor}")?;
    }
    writeln!(out)?;
    write!(
        out,
        "{} records, {}, ",
        ByteSize(settings.record_bytes),
        settings.layout
    )?;
    write!(out, "{}, ", counted(settings.producers, "producer"))?;
    write!(out, "{}, ", counted(settings.consumers, "consumer"))?;
    write!(
        out,
        "{}, ",
        counted(
            usize::try_from(settings.partitions).unwrap_or(0),
            "partition"
        )
    )?;
    writeln!(
        out,
        "acks={}, compression {}",
        settings.acks, settings.compression
    )
}

fn write_ceilings(ceilings: &Ceilings, out: &mut String) -> fmt::Result {
    writeln!(out, "\nWhat this machine can do")?;
    let rows = [
        (
            "loopback stream",
            ceilings.loopback_stream_mb_per_s,
            "loopback round trip",
            ceilings.loopback_round_trip,
        ),
        (
            "direct sequential write",
            ceilings.sequential_write_mb_per_s,
            "4 KiB write",
            ceilings.write_round_trip,
        ),
        (
            "direct sequential read",
            ceilings.sequential_read_mb_per_s,
            "4 KiB write + fdatasync",
            ceilings.synced_write_round_trip,
        ),
    ];
    for (rate, mb_per_s, round_trip, LatencySummary { p50_us, p99_us, .. }) in rows {
        write!(out, "  {rate:<24}{:>6} MB/s   ", Thousands::of(mb_per_s))?;
        writeln!(
            out,
            "{round_trip:<24}p50 {:>8}   p99 {:>8}",
            Micros(p50_us),
            Micros(p99_us)
        )?;
    }
    Ok(())
}

fn write_throughput(
    title: &str,
    beside: &str,
    lines: &[Throughput],
    out: &mut String,
) -> fmt::Result {
    write!(out, "\n{title:<32}{:>7}{:>12}", "MB/s", "records/s")?;
    if lines.iter().any(|line| line.ceiling.is_some()) {
        write!(out, "   {beside:<24}{:>7}{:>7}", "MB/s", "share")?;
    }
    if lines.iter().any(|line| line.busy.is_some()) {
        write!(out, "   busy: broker, clients")?;
    }
    writeln!(out)?;
    for line in lines {
        write!(
            out,
            "  {:<30}{:>7}{:>12}",
            line.what,
            Thousands::of(line.mb_per_s),
            Thousands::of(line.records_per_s)
        )?;
        match &line.ceiling {
            Some(ceiling) => write!(
                out,
                "   {:<24}{:>7}{:>7}",
                ceiling.name,
                Thousands::of(ceiling.mb_per_s),
                percent(ceiling.share)
            )?,
            None => write!(out, "{:41}", "")?,
        }
        if let Some(busy) = line.busy {
            write!(
                out,
                "   {:>6}{:>7}",
                percent(busy.broker),
                percent(busy.clients)
            )?;
        }
        end_line(out);
    }
    Ok(())
}

/// How even each figure was.
fn write_timelines(lines: &[&Throughput], out: &mut String) -> fmt::Result {
    /// Blocks of a sparkline.
    const WIDTH: usize = 48;
    let told = lines.iter().filter_map(|line| {
        let range = line.timeline_mb_per_s.range()?;
        Some((line, range))
    });
    for (index, (line, (lowest, highest))) in told.enumerate() {
        if index == 0 {
            writeln!(
                out,
                "\n{:<32}{:<WIDTH$}{:>9}{:>9}",
                "Throughput over time", "", "lowest", "highest"
            )?;
        }
        writeln!(
            out,
            "  {:<30}{:<WIDTH$}{:>9}{:>9}",
            line.what,
            line.timeline_mb_per_s.sparkline(WIDTH),
            Thousands::of(lowest),
            Thousands::of(highest)
        )?;
    }
    Ok(())
}

/// `tails_are_void`: what stands beyond the medians is put in brackets.
fn write_latency(lines: &[Latency], tails_are_void: bool, out: &mut String) -> fmt::Result {
    write!(
        out,
        "\n{:<32}{:>9}{:>10}{:>10}{:>10}",
        "Latency, producer to consumer", "p50", "p99", "p99.9", "max"
    )?;
    if lines.iter().any(|line| line.ceiling.is_some()) {
        write!(out, "   {:<36}{:>7}", "ceiling of p50", "share")?;
    }
    writeln!(out)?;
    let tail = |us| match tails_are_void {
        true => format!("({})", Micros(us)),
        false => Micros(us).to_string(),
    };
    for line in lines {
        let LatencySummary {
            p50_us,
            p99_us,
            p999_us,
            max_us,
            ..
        } = line.measured;
        write!(
            out,
            "  {:<30}{:>9}{:>10}{:>10}{:>10}",
            line.what,
            Micros(p50_us),
            tail(p99_us),
            tail(p999_us),
            tail(max_us)
        )?;
        if let Some(ceiling) = &line.ceiling {
            write!(
                out,
                "   {:<27}{:>9}{:>7}",
                ceiling.name,
                Micros(ceiling.p50_us),
                percent(ceiling.share)
            )?;
        }
        end_line(out);
    }
    Ok(())
}

fn write_knees(knees: &[Knee], out: &mut String) -> fmt::Result {
    writeln!(
        out,
        "\n{:<32}{:>12}{:>10}{:>10}",
        "Highest rate within a bound", "records/s", "p50", "p99"
    )?;
    for knee in knees {
        let what = format!("{}, p99 within {}", knee.what, Micros(knee.p99_bound_us));
        let highest = knee.steps.iter().filter(|step| step.is_sustained);
        match highest.max_by_key(|step| step.rate) {
            Some(step) => writeln!(
                out,
                "  {what:<30}{:>12}{:>10}{:>10}",
                Thousands(step.rate),
                Micros(step.measured.p50_us),
                Micros(step.measured.p99_us)
            )?,
            None => writeln!(out, "  {what:<30}{:>12}", "none")?,
        }
    }
    Ok(())
}

fn write_end(report: &Report, out: &mut String) -> fmt::Result {
    writeln!(out)?;
    if let Some(broker) = &report.broker
        && broker.bytes_by_shard.len() > 1
    {
        let total: u64 = broker.bytes_by_shard.iter().sum();
        let shares: Vec<String> = broker
            .bytes_by_shard
            .iter()
            .map(|&bytes| percent(bytes as f64 / total.max(1) as f64))
            .collect();
        writeln!(
            out,
            "Bytes by shard: {}. Mesh hops: {}.",
            shares.join(", "),
            Thousands(broker.mesh_hops)
        )?;
    }
    let verdict = &report.verdict;
    let sent = Thousands(verdict.sent);
    if verdict.is_good() {
        write!(
            out,
            "{sent} records sent; every one was acknowledged and came back whole"
        )?;
        match verdict.duplicated {
            0 => writeln!(out, ".")?,
            twice => writeln!(out, " ({} of them more than once).", Thousands(twice))?,
        }
    } else {
        writeln!(
            out,
            "FAILED: {sent} records sent, {} acknowledged, {} came back whole; {} out of order, \
             {} with wrong bytes.",
            Thousands(verdict.acknowledged),
            Thousands(verdict.read_back),
            Thousands(verdict.reordered),
            Thousands(verdict.damaged)
        )?;
    }
    for remark in report.remarks() {
        writeln!(out, "{remark}")?;
    }
    writeln!(out, "{:.0} s.", report.elapsed_s)
}

fn counted(count: usize, noun: &str) -> String {
    let plural = if count == 1 { "" } else { "s" };
    format!("{count} {noun}{plural}")
}

fn percent(share: f64) -> String {
    format!("{:.0} %", share * 100.0)
}

/// Ends the line without the blanks of empty columns.
fn end_line(out: &mut String) {
    out.truncate(out.trim_end_matches(' ').len());
    out.push('\n');
}

#[cfg(test)]
pub(super) mod tests;
