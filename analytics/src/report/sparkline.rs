//! A line of bars from 0 to the largest value.

const BARS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];

/// No value is a blank, 0 the lowest bar, and whatever is above 0 higher than that. The bars are as wide as the line allows.
pub fn sparkline(values: &[Option<f64>], width: usize) -> String {
    let largest = largest(values);
    let bar = |value: &Option<f64>| {
        let Some(value) = value else { return ' ' };
        let height = if largest > 0.0 { value / largest } else { 0.0 };
        let above = BARS.iter().enumerate().skip(1).find(|(index, _)| height <= share(*index)).map(|(_, bar)| *bar);
        if height > 0.0 { above.unwrap_or('█') } else { '▁' }
    };
    let repeated = width.checked_div(values.len()).unwrap_or_default().max(1);
    values.iter().flat_map(|value| std::iter::repeat_n(bar(value), repeated)).collect()
}

pub fn largest(values: &[Option<f64>]) -> f64 {
    values.iter().flatten().copied().fold(0.0, f64::max)
}

#[expect(clippy::cast_precision_loss, reason = "there are eight bars")]
fn share(index: usize) -> f64 {
    index as f64 / (BARS.len() - 1) as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_zero_and_little_differ() {
        assert_eq!(sparkline(&[None, Some(0.0), Some(0.001), Some(3.5), Some(7.0)], 9), " ▁▂▅█");
        assert_eq!(sparkline(&[Some(0.0), None], 1), "▁ ");
        assert_eq!(sparkline(&[], 5), "");
        assert_eq!(sparkline(&[Some(0.0), Some(1.0)], 7), "▁▁▁███");
        let every: Vec<_> = (0_u8..8).map(|value| Some(value.into())).collect();
        assert_eq!(sparkline(&every, 8), BARS.iter().collect::<String>());
    }
}
