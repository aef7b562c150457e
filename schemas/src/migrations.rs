//! The tables and views, as numbered migrations. `hookline-analytics migrate` applies them, in order, once each.

/// One numbered file of `schemas/tables/`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Migration {
    /// The place in the order in which migrations are applied, from 1; never reused.
    pub number: u32,
    /// The name of the table or the subject of the views that it makes.
    pub name: &'static str,
    /// The whole file: statements, each ended by a semicolon at the end of a line, and comments before them.
    pub sql: &'static str,
}

impl Migration {
    /// The statements without the comments before them and without semicolons, one after the other: ClickHouse's HTTP
    /// interface takes one at a time.
    pub fn statements(&self) -> impl Iterator<Item = &'static str> {
        self.sql.split(";\n").map(without_comments).filter(|statement| !statement.is_empty())
    }
}

fn without_comments(mut statement: &str) -> &str {
    statement = statement.trim();
    while statement.starts_with("--") {
        statement = statement.split_once('\n').map_or("", |(_, rest)| rest.trim_start());
    }
    statement
}

macro_rules! migrations {
    ($($number:literal $name:literal;)*) => {
        &[$(Migration {
            number: $number,
            name: $name,
            sql: include_str!(concat!("../tables/", $number, "_", $name, ".sql")),
        }),*]
    };
}

/// Every migration, in the order of the numbers.
pub const MIGRATIONS: &[Migration] = migrations! {
    1 "jobs";
    2 "deliveries";
    3 "dead_letters";
    4 "job_facts";
    5 "job_stats";
    6 "reports";
    7 "expired_offsets";
    8 "redrives";
};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statements_have_no_comments() {
        let statements: Vec<_> = MIGRATIONS.iter().flat_map(Migration::statements).collect();
        assert!(statements.iter().all(|statement| statement.starts_with("CREATE ") && !statement.contains("--")));
        assert_eq!(statements.len(), 17, "six tables and eleven views");
    }

    #[test]
    fn numbers_are_in_order_and_every_file_is_listed() {
        assert!(MIGRATIONS.iter().map(|migration| migration.number).eq(1..=MIGRATIONS.len() as u32));
        let mut files: Vec<_> = std::fs::read_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/tables"))
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        files.sort();
        let mut listed: Vec<_> = MIGRATIONS.iter().map(|m| format!("{}_{}.sql", m.number, m.name)).collect();
        listed.sort();
        assert_eq!(files, listed);
    }
}
