//! The names of environment variables that tests read, and those that point our binaries at servers.

use std::path::PathBuf;
use std::process::{Command, Stdio};

use hookline_service::clickhouse::ClickHouseConfig;
use hookline_service::config::Secret;
use hookline_service::kafka::KafkaConfig;

/// Variables for a child process, in addition to our own.
pub type Environment = Vec<(String, String)>;

/// Points a binary at the brokers and the topics of `kafka`.
pub fn kafka_environment(kafka: &KafkaConfig) -> Environment {
    with(&[], &[("KAFKA_BOOTSTRAP_SERVERS", &kafka.bootstrap_servers), ("HOOKLINE_TOPIC_PREFIX", &kafka.topic_prefix)])
}

/// Points a binary at the server and the database of `clickhouse`.
pub fn clickhouse_environment(clickhouse: &ClickHouseConfig) -> Environment {
    let variables = [
        ("CLICKHOUSE_URL", &*clickhouse.url),
        ("CLICKHOUSE_DATABASE", &clickhouse.database),
        ("CLICKHOUSE_USER", &clickhouse.user),
        ("CLICKHOUSE_PASSWORD", clickhouse.password.as_ref().map_or("", Secret::expose)),
    ];
    with(&[], &variables)
}

/// `environment` and `more`, which wins: of two variables with the same name a child process gets the last.
pub fn with(environment: &[(String, String)], more: &[(&str, &str)]) -> Environment {
    let more = more.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
    environment.iter().cloned().chain(more).collect()
}

/// The value of a variable without which no test against real servers can run.
pub(crate) fn required(name: &str) -> String {
    std::env::var(name)
        .unwrap_or_else(|_| panic!("{name} is not set: run the tests with `make test`, which starts the servers"))
}

/// A program of `deploy/local`, which stops what it started when its stdin ends.
pub(crate) fn local_server(program: &str) -> Command {
    let mut command = Command::new(required("HOOKLINE_PYTHON"));
    command.arg(PathBuf::from(required("HOOKLINE_DEPLOY_LOCAL")).join(program)).stdin(Stdio::piped());
    command
}
