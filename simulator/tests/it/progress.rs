//! What the simulator tells while it sends and nobody has a terminal.

use std::process::{Command, Output};

use hookline_testkit::Daemon;

fn simulate(arguments: &str) -> Output {
    Command::new(Daemon::binary("hookline-simulator"))
        .args(["--url", "http://127.0.0.1:1/webhooks/nobody", "--jobs", "1"])
        .args(arguments.split(' '))
        .env("HOOKLINE_WEBHOOK_SECRET", "mhw_live_0123456789")
        .output()
        .unwrap()
}

#[test]
fn it_says_how_long_the_plan_takes_and_then_how_far_it_is() {
    let output = simulate("--seed 1 --speed 100000 --give-up-after 8s");
    let text = String::from_utf8(output.stderr).unwrap();
    let (plan, progress) = text.split_once('\n').unwrap();
    assert!(plan.contains("webhooks, the last one in ") && plan.contains("--speed"), "{text}");
    // Attempts go on for about 8 s: a line comes after 5 s.
    assert!(progress.contains(" of 2 webhooks acknowledged"), "{text}");
    assert_eq!(output.status.code(), Some(1), "nothing was acknowledged");
}

#[test]
fn jobs_of_the_past_have_no_plan_to_wait_for() {
    let output = simulate("--past 4m --give-up-after 0s");
    assert_eq!(String::from_utf8(output.stderr).unwrap(), "");
}
