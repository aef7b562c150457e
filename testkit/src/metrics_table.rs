//! The metrics of a binary as the table of `docs/metrics.md`.

use std::fmt::Write as _;

use prometheus::proto::MetricFamily;

/// A row of Markdown for each family. Every family needs at least one series, which tells the labels; the unit is the one
/// that Prometheus's naming rules put at the end of the name.
pub fn metrics_table(families: &[MetricFamily]) -> String {
    let mut table = "| metric | type | labels | unit | meaning |\n|---|---|---|---|---|\n".to_owned();
    for family in families {
        let name = family.name();
        let kind = format!("{:?}", family.get_field_type()).to_lowercase();
        let labels: Vec<_> =
            family.get_metric()[0].get_label().iter().map(|label| format!("`{}`", label.name())).collect();
        let unit =
            ["seconds", "bytes", "ratio"].into_iter().find(|unit| name.trim_end_matches("_total").ends_with(unit));
        let (labels, unit) = (labels.join(", "), unit.unwrap_or("count"));
        writeln!(table, "| `{name}` | {kind} | {labels} | {unit} | {} |", family.help()).unwrap();
    }
    table
}
