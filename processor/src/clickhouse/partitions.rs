//! ClickHouse refuses a block that touches more than 100 partitions; the tables' partitions are months.

use std::collections::BTreeSet;

/// `max_partitions_per_insert_block` is 100, and 28 days touch at most two months.
const MAX_SPANS: usize = 50;

/// Splits rows into blocks of at most [`MAX_SPANS`] spans of 28 days and keeps their order. `seconds` gives the time that the
/// table is partitioned by.
pub fn blocks<'r, T>(rows: impl Iterator<Item = &'r T>, seconds: impl Fn(&T) -> i64) -> Vec<Vec<&'r T>> {
    let rows: Vec<_> = rows.collect();
    let mut last = i64::MIN;
    let mut spans = BTreeSet::new();
    for row in &rows {
        let span = span(seconds(row));
        if span != last {
            spans.insert(span);
            last = span;
        }
    }
    if spans.len() <= MAX_SPANS {
        return vec![rows];
    }
    let starts: Vec<_> = spans.into_iter().step_by(MAX_SPANS).collect();
    let mut blocks = vec![Vec::new(); starts.len()];
    for row in rows {
        let span = span(seconds(row));
        let block = starts.partition_point(|start| *start <= span).saturating_sub(1);
        if let Some(block) = blocks.get_mut(block) {
            block.push(row);
        }
    }
    blocks
}

/// Counts spans of 28 days since 1970: unlike months, they need no calendar.
fn span(seconds: i64) -> i64 {
    seconds.div_euclid(28 * 86_400)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_of_a_few_months_stay_together() {
        let rows = [3_000_000, 0, 40_000_000];
        assert_eq!(blocks(rows.iter(), |seconds| *seconds), [[&3_000_000, &0, &40_000_000]]);
    }

    #[test]
    fn a_century_is_split_and_nothing_is_lost() {
        let rows: Vec<i64> = (0..1_300).map(|index| (index * 7 % 1_300) * 2_600_000).collect();
        let blocks = blocks(rows.iter(), |seconds| *seconds);
        assert!(blocks.len() > 10);
        for block in &blocks {
            let spans: BTreeSet<_> = block.iter().map(|seconds| span(**seconds)).collect();
            assert!(spans.len() <= MAX_SPANS);
        }
        let mut all: Vec<i64> = blocks.into_iter().flatten().copied().collect();
        let mut expected = rows.clone();
        all.sort_unstable();
        expected.sort_unstable();
        assert_eq!(all, expected);
    }
}
