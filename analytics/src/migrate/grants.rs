//! The statements that make the user `reader`, who may read the tables and views and not what a webhook said as it was signed.

use hookline_schemas::migrations::{MIGRATIONS, Migration};

/// Columns that no reader sees: what was signed, and the proof of it.
const HIDDEN: [&str; 2] = ["body", "signature"];

/// The profile, the user and a grant for each table and view of `database`, which run as whoever asks them. `readonly = 1` refuses
/// settings beside a question, but for the time limit, which Grafana sets and may only be changed within its bounds. A row of the roll-up has
/// hundreds of cells, so a month of it, some thousand rows, is read in one thread where ClickHouse takes them for few.
pub fn statements(database: &str) -> String {
    let mut text = "CREATE SETTINGS PROFILE IF NOT EXISTS hookline_reader SETTINGS readonly = 1, \
         max_execution_time = 10 MIN 0 MAX 30 CHANGEABLE_IN_READONLY, max_memory_usage = 2000000000, max_threads = 2, \
         merge_tree_min_rows_for_concurrent_read = 128, \
         max_result_rows = 100000, max_concurrent_queries_for_user = 20, cancel_http_readonly_queries_on_client_close = 1;\n\
         -- Choose the password: CREATE USER takes it in plain text, or as sha256_hash.\n\
         CREATE USER IF NOT EXISTS reader IDENTIFIED WITH sha256_password BY '...' SETTINGS PROFILE hookline_reader;\n"
        .to_owned();
    for statement in MIGRATIONS.iter().flat_map(Migration::statements) {
        if let Some((name, columns)) = granted(statement) {
            text.push_str(&format!("GRANT SELECT{columns} ON {database}.{name} TO reader;\n"));
        }
    }
    text
}

/// The name of what a statement makes, and the list of columns where not all are to be read.
fn granted(statement: &str) -> Option<(&str, String)> {
    let rest = statement
        .strip_prefix("CREATE TABLE IF NOT EXISTS ")
        .or_else(|| statement.strip_prefix("CREATE OR REPLACE VIEW "))?;
    let name = rest.split_whitespace().next()?;
    let head = rest.split_once("\n(\n").filter(|(before, _)| *before == name).map_or("", |(_, head)| head);
    let head = head.split_once("\n)").map_or("", |(head, _)| head);
    let columns = head.lines().filter_map(|line| line.strip_prefix("    ")?.split(' ').next());
    let columns: Vec<_> = columns.filter(|column| !column.is_empty() && *column != "INDEX").collect();
    let shown: Vec<_> = columns.iter().copied().filter(|column| !HIDDEN.contains(column)).collect();
    let list = if shown == columns { String::new() } else { format!("({})", shown.join(", ")) };
    Some((name, list))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everything_is_granted_but_what_was_signed() {
        let text = statements("db");
        for name in ["jobs", "job_facts", "job_stats", "error_rates", "stuck_jobs", "jobs_kept_since"] {
            assert!(text.contains(&format!("GRANT SELECT ON db.{name} TO reader;")), "{name}: {text}");
        }
        for table in ["deliveries", "dead_letters"] {
            let grant = text.lines().find(|line| line.contains(&format!("ON db.{table} "))).unwrap();
            assert!(grant.starts_with("GRANT SELECT(log_id, topic, partition, offset, source, "), "{grant}");
            assert!(!grant.contains("body") && !grant.contains("signature"), "{grant}");
        }
        let made = MIGRATIONS.iter().flat_map(Migration::statements).filter(|sql| sql.starts_with("CREATE"));
        assert_eq!(text.matches("\nGRANT ").count(), made.count());
    }
}
