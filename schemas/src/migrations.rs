//! The tables and views, as numbered migrations. `hookline-analytics migrate` applies them, in order, once each.

/// One file of `schemas/tables/`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Migration {
    /// Its place in the order; never reused.
    pub number: u32,
    /// What it makes.
    pub name: &'static str,
    /// The statements, each ended by a semicolon at the end of a line.
    pub sql: &'static str,
}

impl Migration {
    /// The statements without their comments and semicolons, one after the other: ClickHouse's HTTP interface takes one
    /// at a time.
    pub fn statements(&self) -> impl Iterator<Item = &'static str> {
        self.sql.split(";\n").map(str::trim).filter(|statement| !statement.is_empty())
    }
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

/// Every migration, in order.
pub const MIGRATIONS: &[Migration] = migrations! {
    1 "jobs";
    2 "deliveries";
    3 "dead_letters";
    4 "job_facts";
    5 "job_stats";
    6 "reports";
};

#[cfg(test)]
mod tests {
    use super::*;

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
