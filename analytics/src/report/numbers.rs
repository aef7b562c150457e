//! Numbers for people. What there is none of is a dash, never 0.

use crate::query::finished::share;

const NONE: &str = "–";

/// Groups the digits by thousands.
pub fn count(number: u64) -> String {
    let digits = number.to_string();
    let mut grouped = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    grouped
}

pub fn seconds(value: Option<f64>) -> String {
    let Some(value) = value else { return NONE.to_owned() };
    let text = format!("{value:.1}");
    let (whole, tenths) = text.split_once('.').unwrap_or((&text, "0"));
    match whole.parse() {
        Ok(whole) => format!("{}.{tenths}", count(whole)),
        Err(_) => text,
    }
}

/// A share in percent, without the sign.
pub fn percent(share: Option<f64>) -> String {
    share.map_or_else(|| NONE.to_owned(), |share| format!("{:.1}", share * 100.0))
}

/// The change of a number of jobs, in percent of the earlier one.
pub fn change_of_count(now: u64, earlier: u64) -> String {
    if now == earlier {
        return "=".to_owned();
    }
    share(now, earlier).map_or_else(|| "new".to_owned(), |ratio| signed(ratio - 1.0, "%"))
}

/// The change of a duration, in percent of the earlier one.
pub fn change_of_seconds(now: Option<f64>, earlier: Option<f64>) -> String {
    match (now, earlier) {
        (Some(now), Some(earlier)) if earlier > 0.0 => signed(now / earlier - 1.0, "%"),
        _ => NONE.to_owned(),
    }
}

/// The change of a share, in points of percent.
pub fn change_of_share(now: Option<f64>, earlier: Option<f64>) -> String {
    match (now, earlier) {
        (Some(now), Some(earlier)) => signed(now - earlier, "pt"),
        _ => NONE.to_owned(),
    }
}

fn signed(share: f64, unit: &str) -> String {
    let text = format!("{:+.1}", share * 100.0);
    if matches!(&*text, "+0.0" | "-0.0") { "=".to_owned() } else { format!("{text} {unit}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digits_are_grouped() {
        for (number, text) in [(0, "0"), (999, "999"), (1_000, "1,000"), (12_345_678, "12,345,678")] {
            assert_eq!(count(number), text);
        }
        assert_eq!(seconds(Some(1_224.44)), "1,224.4");
        assert_eq!(seconds(Some(-0.26)), "-0.3");
        assert_eq!((seconds(None), percent(None)), ("–".into(), "–".into()));
        assert_eq!(percent(Some(0.051)), "5.1");
    }

    #[test]
    fn changes_have_a_sign() {
        assert_eq!(change_of_count(149, 100), "+49.0 %");
        assert_eq!(change_of_count(0, 100), "-100.0 %");
        assert_eq!(change_of_count(5, 5), "=");
        assert_eq!(change_of_count(5, 0), "new");
        assert_eq!(change_of_seconds(Some(9.0), Some(10.0)), "-10.0 %");
        assert_eq!(change_of_seconds(Some(9.0), None), "–");
        assert_eq!(change_of_share(Some(0.05), Some(0.04)), "+1.0 pt");
        assert_eq!(change_of_share(Some(0.05), Some(0.05)), "=");
    }
}
