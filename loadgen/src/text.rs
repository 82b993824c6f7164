//! Numbers and times as people read them.

use std::time::Duration;

/// `65,536`.
pub(crate) fn number(value: u64) -> String {
    let digits = value.to_string();
    let mut text = String::with_capacity(digits.len() * 4 / 3);
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// With three digits or so, in the unit that fits: `870 µs`, `1.25 ms`, `12.0 s`.
pub(crate) fn time(time: Duration) -> String {
    let seconds = time.as_secs_f64();
    let (value, unit) = match time.as_micros() {
        0..1_000 => (seconds * 1e6, "µs"),
        1_000..1_000_000 => (seconds * 1e3, "ms"),
        _ => (seconds, "s"),
    };
    let decimals = match value {
        ..10.0 => 2,
        ..100.0 => 1,
        _ => 0,
    };
    format!("{value:.decimals$} {unit}")
}

/// `3 × "text", 1 × "other"`, or nothing.
pub(crate) fn reasons(reasons: &crate::tally::Reasons) -> String {
    let parts = reasons
        .iter()
        .map(|(reason, many)| format!("{} × {reason}", number(*many)));
    parts.collect::<Vec<_>>().join(", ")
}

/// What nobody reads to its end is no failure.
pub(crate) fn print(text: &str) {
    use std::io::Write;

    let mut stdout = std::io::stdout();
    drop(
        stdout
            .write_all(text.as_bytes())
            .and_then(|()| stdout.flush()),
    );
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_have_groups() {
        let texts = [0, 7, 999, 1000, 65_536, 1_234_567].map(number);
        assert_eq!(texts, ["0", "7", "999", "1,000", "65,536", "1,234,567"]);
    }

    #[test]
    fn times_have_a_unit_that_fits() {
        let texts = [0, 870, 1250, 64_000, 640_000, 12_000_000]
            .map(|micros| time(Duration::from_micros(micros)));
        let expected = [
            "0.00 µs", "870 µs", "1.25 ms", "64.0 ms", "640 ms", "12.0 s",
        ];
        assert_eq!(texts, expected);
    }
}
