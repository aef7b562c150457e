//! A page of metrics, for tests. Reading a name that is not there fails, because it would be zero for ever.

use std::collections::BTreeSet;

/// Families without a series on the page of a fresh process, because each of their labels is a word of a webhook. A test that reads
/// zero from one of them cannot be told from a test with a wrong name, so their names are listed here.
pub const OF_DATA: [&str; 4] = [
    "hookline_jobs_finished_total",
    "hookline_job_total_seconds",
    "hookline_job_run_seconds",
    "hookline_job_queue_seconds",
];

/// How many similar names the message about a missing one has.
const SUGGESTIONS: usize = 5;

/// The text that `/metrics` answers.
#[derive(Clone, Debug)]
pub struct Page(pub String);

impl Page {
    /// The sum of a metric over those of its series whose line contains every one of `labels`, such as `topic="t"`; `None` where
    /// there is no such series.
    pub fn find(&self, name: &str, labels: &[&str]) -> Option<f64> {
        let values = self.0.lines().filter_map(|line| line.rsplit_once(' ')).filter(|(series, _)| {
            series.split('{').next() == Some(name) && labels.iter().all(|label| series.contains(label))
        });
        values.filter_map(|(_, value)| value.parse::<f64>().ok()).reduce(|sum, value| sum + value)
    }

    /// The same sum; fails where there is no such series.
    pub fn read(&self, name: &str, labels: &[&str]) -> f64 {
        self.find(name, labels).unwrap_or_else(|| match self.has_family(name) {
            true => panic!("no series of {name} has the labels {labels:?}; it has {:#?}", self.labels(name)),
            false => panic!("there is no metric {name}; the most alike are {}", self.most_alike(name).join(", ")),
        })
    }

    /// The same sum, or zero before the first series; only for a family of [`OF_DATA`].
    pub fn read_or_zero(&self, name: &str, labels: &[&str]) -> f64 {
        assert!(OF_DATA.contains(&family(name)), "{name} has its series from the start, or is not known");
        self.find(name, labels).unwrap_or(0.0)
    }

    /// The labels of each series of a metric, as the page writes them.
    pub fn labels(&self, name: &str) -> Vec<String> {
        let series = self.0.lines().filter_map(|line| line.strip_prefix(name)?.strip_prefix('{')?.split_once('}'));
        series.map(|(labels, _)| labels.to_owned()).collect()
    }

    fn families(&self) -> impl Iterator<Item = &str> {
        self.0.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split(' ').next())
    }

    fn has_family(&self, name: &str) -> bool {
        self.families().any(|found| found == name || found == family(name))
    }

    fn most_alike(&self, name: &str) -> Vec<&str> {
        let wanted: BTreeSet<_> = name.split('_').collect();
        let mut families: Vec<_> = self.families().collect();
        families.sort_by_key(|found| found.split('_').filter(|word| !wanted.contains(word)).count());
        families.sort_by_key(|found| std::cmp::Reverse(found.split('_').filter(|word| wanted.contains(word)).count()));
        families.truncate(SUGGESTIONS);
        families
    }
}

/// The name of the histogram that a series of this name may belong to.
fn family(name: &str) -> &str {
    ["_count", "_sum", "_bucket"].iter().find_map(|end| name.strip_suffix(end)).unwrap_or(name)
}

#[cfg(test)]
mod tests {
    use std::panic::{AssertUnwindSafe, catch_unwind};

    use super::*;

    fn page() -> Page {
        Page(
            "# HELP app_reads_total Reads.\n# TYPE app_reads_total counter\n\
             app_reads_total{result=\"ok\"} 3\napp_reads_total{result=\"failed\"} 0\n\
             # HELP app_read_seconds Time.\n# TYPE app_read_seconds histogram\n\
             app_read_seconds_bucket{le=\"+Inf\"} 2\napp_read_seconds_sum 0.5\napp_read_seconds_count 2\n"
                .into(),
        )
    }

    fn complaint(read: impl FnOnce(&Page) -> f64) -> String {
        let page = page();
        let panic = catch_unwind(AssertUnwindSafe(|| read(&page))).expect_err("it was to fail");
        *panic.downcast::<String>().expect("a message")
    }

    #[test]
    fn series_that_are_there_are_summed() {
        assert_eq!(page().read("app_reads_total", &[]), 3.0);
        assert_eq!(page().read("app_reads_total", &["result=\"failed\""]), 0.0);
        assert_eq!(page().read("app_read_seconds_count", &[]), 2.0);
        assert_eq!(page().find("app_writes_total", &[]), None);
        assert_eq!(page().read_or_zero("hookline_job_run_seconds_count", &[]), 0.0);
    }

    #[test]
    fn a_reading_of_what_is_not_there_fails_and_says_what_is() {
        let said = complaint(|page| page.read("app_read_total", &[]));
        assert_eq!(said, "there is no metric app_read_total; the most alike are app_reads_total, app_read_seconds");
        let said = complaint(|page| page.read("app_reads_total", &["result=\"none\""]));
        assert!(said.starts_with("no series of app_reads_total has the labels") && said.contains("failed"), "{said}");
        let said = complaint(|page| page.read_or_zero("app_writes_total", &[]));
        assert!(said.starts_with("app_writes_total has its series from the start"), "{said}");
    }
}
