//! The tests of `deploy/local`, which are in Python as their subject is.

use std::env;
use std::process::Command;

#[test]
fn the_tests_of_the_local_stack_pass() {
    let required =
        |name: &str| env::var(name).unwrap_or_else(|_| panic!("{name} is not set: run the tests with `make test`"));
    let mut command = Command::new(required("HOOKLINE_PYTHON"));
    let folder = required("HOOKLINE_DEPLOY_LOCAL");
    command.args(["-m", "unittest", "discover", "--start-directory", &folder]).current_dir(&folder);
    let output = command.output().unwrap();
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && !text.contains("Ran 0 tests"), "{text}");
}
