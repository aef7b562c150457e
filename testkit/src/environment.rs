//! The names of environment variables that tests read, and those that point our binaries at servers.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use hookline_service::clickhouse::ClickHouseConfig;
use hookline_service::config::Secret;
use hookline_service::kafka::KafkaConfig;

use super::kafka_cluster::{Login, Sasl};

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

/// Points a binary, such as `PROCESSOR`, at the listener with TLS and passwords; without `ca`, it trusts the system's alone.
pub fn sasl_environment(program: &str, sasl: &Sasl, login: &Login, ca: Option<&Path>) -> Environment {
    let key = |name: &str| format!("HOOKLINE_{program}__KAFKA__{name}");
    let mut environment = vec![
        ("KAFKA_BOOTSTRAP_SERVERS".to_owned(), sasl.bootstrap_servers.clone()),
        (key("SECURITY_PROTOCOL"), "sasl_ssl".to_owned()),
        (key("SASL_MECHANISM"), "PLAIN".to_owned()),
        (key("SASL_USERNAME"), login.user.clone()),
        (key("SASL_PASSWORD"), login.password.clone()),
    ];
    environment.extend(ca.map(|ca| (key("SSL_CA_LOCATION"), ca.to_string_lossy().into_owned())));
    environment
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
