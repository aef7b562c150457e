//! One of our binaries as a command that comes to an end by itself.

use std::process::{Command, Output, Stdio};

use super::Daemon;

/// Runs a binary to its end, with `environment` added to our own, and gives what it printed and its exit status.
pub async fn run(binary: &str, arguments: &[&str], environment: &[(String, String)]) -> Output {
    let mut command = Command::new(Daemon::binary(binary));
    command.args(arguments).envs(environment.iter().cloned()).stdin(Stdio::null());
    let output = tokio::task::spawn_blocking(move || command.output()).await.expect("no panic in `output`");
    output.unwrap_or_else(|error| panic!("{binary}: {error}"))
}

/// The same of a command that must succeed; gives its standard output.
pub async fn run_successfully(binary: &str, arguments: &[&str], environment: &[(String, String)]) -> Vec<u8> {
    let output = run(binary, arguments, environment).await;
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{binary} {arguments:?} ended with {}:\n{stderr}", output.status);
    output.stdout
}
