//! ISO 8601 durations of days, hours, minutes and seconds, as Java's `Duration` writes them: `P2DT3H4M5.5S`.

use std::time::Duration;

/// Reads an ISO 8601 duration of days, hours, minutes and seconds that is not negative, such as `P2DT3H4M5.5S`; `None` if the
/// text is not one.
pub fn parse_iso_duration(text: &str) -> Option<Duration> {
    let text = text.strip_prefix('P')?;
    let (days, time) = match text.split_once('T') {
        Some((days, time)) if !time.is_empty() => (days, time),
        Some(_) => return None,
        None => (text, ""),
    };
    if days.is_empty() && time.is_empty() {
        return None;
    }
    let mut total = Duration::ZERO;
    if !days.is_empty() {
        let count = whole(days.strip_suffix('D')?)?;
        total = total.checked_add(seconds(count, 24 * 60 * 60)?)?;
    }
    let mut rest = time;
    for (unit, unit_seconds) in [('H', 60 * 60), ('M', 60)] {
        if let Some((number, after)) = rest.split_once(unit) {
            total = total.checked_add(seconds(whole(number)?, unit_seconds)?)?;
            rest = after;
        }
    }
    if rest.is_empty() {
        return Some(total);
    }
    total.checked_add(fractional_seconds(rest.strip_suffix('S')?)?)
}

fn seconds(count: u64, unit_seconds: u64) -> Option<Duration> {
    count.checked_mul(unit_seconds).map(Duration::from_secs)
}

/// Digits only: `parse` alone would take a sign.
fn whole(text: &str) -> Option<u64> {
    let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    digits.then(|| text.parse().ok())?
}

fn fractional_seconds(text: &str) -> Option<Duration> {
    let (seconds, fraction) = text.split_once('.').unwrap_or((text, "0"));
    if fraction.len() > 9 {
        return None;
    }
    let nanoseconds = whole(fraction)? * 10_u64.pow(9 - u32::try_from(fraction.len()).ok()?);
    Duration::from_secs(whole(seconds)?).checked_add(Duration::from_nanos(nanoseconds))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_read_as_java_writes_them() {
        for (text, milliseconds) in [
            ("PT0S", 0),
            ("PT1.5S", 1_500),
            ("PT20M", 20 * 60_000),
            ("PT1H30M", 90 * 60_000),
            ("P2D", 2 * 86_400_000),
            ("P1DT2H3M4.005S", 93_784_005),
        ] {
            let expected = Duration::from_millis(milliseconds);
            assert_eq!(parse_iso_duration(text), Some(expected), "{text}");
        }
    }

    #[test]
    fn what_is_no_duration_is_refused() {
        for text in [
            "",
            "P",
            "PT",
            "P1DT",
            "1H",
            "PT1",
            "P1H",
            "PT1D",
            "PT-1H",
            "PT+1H",
            "PT1S1M",
            "PT1M1H",
            "PT1.S",
            "PT.5S",
            "PT1.0123456789S",
            "P1Y",
            "PT1H ",
            "pt1h",
            "P999999999999999999D",
            "P99999999999999999999D",
        ] {
            assert_eq!(parse_iso_duration(text), None, "{text}");
        }
    }
}
