//! How the roll-up is read for a range of time: its whole hours from the cells by hour, its edges from the cells by minute, which
//! together hold the same jobs, maxima and quantiles as the minutes alone and are read in a tenth of the time.

/// A half-open range of the time when jobs ended, in Unix seconds. Both ends are whole minutes of a `DateTime`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RollupRange {
    /// The first second that belongs to the range.
    pub from: u32,
    /// The first second after it, at most [`crate::sql::LAST_MINUTE`].
    pub to: u32,
}

const HOUR: u32 = 3_600;

impl RollupRange {
    /// The rows of the roll-up for the range, as `SELECT …` or `SELECT … UNION ALL SELECT …`, to stand in parentheses after `FROM`.
    /// Their columns are `ended`, a `DateTime('UTC')`: the start of the hour or minute in which their jobs ended, and `columns`,
    /// those of the views `job_stats_by_hour` and `job_stats_by_minute` that are the same in both.
    ///
    /// - Name the columns that the question needs and no other. The states of quantiles are nearly all of the bytes: to count costs a
    ///   tenth of a question for one kind of duration, and each kind costs as much as the first.
    /// - `filter` is a condition on any of the views' columns or empty. It stands in every part, so it must not hold `?` unless
    ///   the values are bound [`Self::parts`] times.
    /// - `step` is the width in seconds of the groups of time that the answer is in, if it is. They must start at whole multiples of
    ///   it since 1970, as those of `toStartOfInterval(ended, INTERVAL … SECOND)` do; the first and the last one may be cut by the
    ///   range. A step of whole hours is read from hours, any other from minutes.
    ///
    /// A question then groups the rows and takes `sum` of the numbers of jobs, `max` of maxima and `quantilesDDMerge` of states, see
    /// [`crate::sql::at_most_max`].
    pub fn rows(self, columns: &[&str], filter: &str, step: Option<u32>) -> String {
        let filter = if filter.is_empty() { String::new() } else { format!(" AND ({filter})") };
        let part = |view: &str, ended: &str, ranges: &[Self]| {
            let columns: String = columns.iter().map(|column| format!(", {column}")).collect();
            let ended_in = any(ranges, |range| range.contains(ended));
            let hours = any(ranges, |range| range.has_ends());
            format!(
                "SELECT {ended} AS ended{columns} FROM {view} WHERE {ended_in} AND created_hour IN \
                 (SELECT created_hour FROM job_stats WHERE {hours}){filter}"
            )
        };
        let (hours, edges) = self.split(step);
        let hours = hours.map(|range| part("job_stats_by_hour", "hour", &[range]));
        let edges = (!edges.is_empty()).then(|| part("job_stats_by_minute", "minute", &edges));
        hours.into_iter().chain(edges).collect::<Vec<_>>().join(" UNION ALL ")
    }

    /// How many parts [`Self::rows`] has: 1 or 2.
    pub fn parts(self, step: Option<u32>) -> usize {
        let (hours, edges) = self.split(step);
        usize::from(hours.is_some()) + usize::from(!edges.is_empty())
    }

    /// The whole hours of the range, if it has any that the step lets be read as such, and what is left of it.
    fn split(self, step: Option<u32>) -> (Option<Self>, Vec<Self>) {
        let by_hour = step.is_none_or(|step| step > 0 && step % HOUR == 0);
        let (first, last) = (self.from.div_ceil(HOUR).saturating_mul(HOUR), self.to / HOUR * HOUR);
        if !by_hour || first >= last {
            return (None, vec![self]);
        }
        let mut edges = vec![Self { from: self.from, to: first }, Self { from: last, to: self.to }];
        edges.retain(|edge| edge.from < edge.to);
        (Some(Self { from: first, to: last }), edges)
    }

    fn contains(self, time: &str) -> String {
        let Self { from, to } = self;
        format!("{time} >= toDateTime({from}, 'UTC') AND {time} < toDateTime({to}, 'UTC')")
    }

    /// Holds for rows of `job_stats`, old versions included, whose jobs may have ended in the range.
    fn has_ends(self) -> String {
        let Self { from, to } = self;
        format!("last_finished_at >= toDateTime({from}, 'UTC') AND first_finished_at < toDateTime({to}, 'UTC')")
    }
}

fn any(ranges: &[RollupRange], condition: impl Fn(RollupRange) -> String) -> String {
    let conditions: Vec<_> = ranges.iter().map(|range| format!("({})", condition(*range))).collect();
    format!("({})", conditions.join(" OR "))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 2024-10-19T05:00:00Z.
    const FIVE: u32 = 1_729_314_000;

    fn range(from: u32, to: u32) -> RollupRange {
        RollupRange { from: FIVE + from * 60, to: FIVE + to * 60 }
    }

    #[test]
    fn whole_hours_and_edges_make_the_range() {
        let split = |from, to, step| {
            let (hours, edges) = range(from, to).split(step);
            assert_eq!(range(from, to).parts(step), usize::from(hours.is_some()) + usize::from(!edges.is_empty()));
            (hours, edges)
        };
        assert_eq!(split(0, 120, None), (Some(range(0, 120)), vec![]));
        assert_eq!(split(1, 120, None), (Some(range(60, 120)), vec![range(1, 60)]));
        assert_eq!(split(0, 61, None), (Some(range(0, 60)), vec![range(60, 61)]));
        assert_eq!(split(59, 121, None), (Some(range(60, 120)), vec![range(59, 60), range(120, 121)]));
        // No whole hour lies in these.
        for (from, to) in [(0, 59), (1, 60), (1, 119), (59, 61), (5, 6)] {
            assert_eq!(split(from, to, None), (None, vec![range(from, to)]), "{from} to {to}");
        }
        for (step, by_hour) in [(3_600, true), (21_600, true), (60, false), (5_400, false), (0, false)] {
            assert_eq!(split(0, 600, Some(step)).0.is_some(), by_hour, "{step}");
        }
    }

    #[test]
    fn the_ends_of_time_do_not_wrap() {
        let (from, to) = (u32::MAX / 60 * 60 - 60, u32::MAX / 60 * 60);
        assert_eq!(RollupRange { from, to }.split(None), (None, vec![RollupRange { from, to }]));
        let (hours, edges) = RollupRange { from: 0, to }.split(None);
        assert_eq!(hours, Some(RollupRange { from: 0, to: to / HOUR * HOUR }));
        assert_eq!(edges, [RollupRange { from: to / HOUR * HOUR, to }]);
    }

    #[test]
    fn each_part_names_its_view_its_columns_and_the_filter() {
        let rows = range(59, 121).rows(&["resource", "completed"], "resource = 'video' OR 1", None);
        let (hours, edges) = rows.split_once(" UNION ALL ").unwrap();
        let time = |minutes: u32| format!("toDateTime({}, 'UTC')", FIVE + minutes * 60);
        let (t59, t60, t120, t121) = (time(59), time(60), time(120), time(121));
        assert_eq!(
            hours,
            format!(
                "SELECT hour AS ended, resource, completed FROM job_stats_by_hour WHERE ((hour >= {t60} AND hour < {t120})) \
                 AND created_hour IN (SELECT created_hour FROM job_stats WHERE ((last_finished_at >= {t60} AND \
                 first_finished_at < {t120}))) AND (resource = 'video' OR 1)"
            )
        );
        assert!(
            edges.starts_with(&format!(
                "SELECT minute AS ended, resource, completed FROM job_stats_by_minute WHERE ((minute >= {t59} AND minute < \
                 {t60}) OR (minute >= {t120} AND minute < {t121})) AND created_hour IN ("
            )),
            "{edges}"
        );
        assert!(edges.ends_with(" AND (resource = 'video' OR 1)"), "{edges}");
    }
}
