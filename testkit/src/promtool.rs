//! Prometheus's own tool, which checks pages of metrics and rules, and runs the tests of rules.

use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use super::prometheus_server::program;

/// Runs the promtool that lies beside the Prometheus of the tests, in a folder and with this as its standard input.
pub fn promtool(folder: &Path, arguments: &[&str], input: &str) -> Output {
    let tool = program().with_file_name("promtool");
    let mut process = Command::new(&tool)
        .args(arguments)
        .current_dir(folder)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap_or_else(|error| panic!("{}: {error}", tool.display()));
    let mut stdin = process.stdin.take().unwrap();
    // A tool that takes no input may have ended already.
    let _ = stdin.write_all(input.as_bytes());
    drop(stdin);
    process.wait_with_output().unwrap()
}
