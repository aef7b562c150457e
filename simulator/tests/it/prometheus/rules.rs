//! The rules of `deploy/prometheus` are sound, their tests pass, and each alert says whose it is and leads to a page that is there.

use std::path::Path;
use std::process::Output;

use hookline_testkit::{PrometheusServer, Setup, promtool};
use serde_json::Value;

use super::{files, folder};

const RULES: &str = "deploy/prometheus/rules";
const TESTS: &str = "deploy/prometheus/tests";

fn text(output: &Output) -> String {
    [&*output.stdout, &output.stderr].map(String::from_utf8_lossy).concat()
}

/// Runs a command of promtool on all files of a folder.
fn check(root: &Path, arguments: &[&str], of: &str) -> Output {
    let names = files(of, "yml").into_iter().map(|file| file.file_name().unwrap().to_str().unwrap().to_owned());
    let names: Vec<_> = names.collect();
    let arguments: Vec<_> = arguments.iter().copied().chain(names.iter().map(String::as_str)).collect();
    promtool(&root.join(Path::new(of).file_name().unwrap()), &arguments, "")
}

#[test]
fn the_rules_are_sound_and_their_tests_pass() {
    let root = folder("deploy/prometheus");
    let checked = check(&root, &["check", "rules"], RULES);
    assert!(checked.status.success(), "{}", text(&checked));
    let tested = check(&root, &["test", "rules"], TESTS);
    assert!(tested.status.success(), "{}", text(&tested));

    // The control: in copies, one threshold is beyond what its test sees, and one rule is none.
    let copy = tempfile::tempdir().unwrap();
    for folder in [RULES, TESTS] {
        let to = copy.path().join(Path::new(folder).file_name().unwrap());
        std::fs::create_dir(&to).unwrap();
        for file in files(folder, "yml") {
            std::fs::copy(&file, to.join(file.file_name().unwrap())).unwrap();
        }
    }
    let file = copy.path().join("rules/pipeline.yml");
    let rules = std::fs::read_to_string(&file).unwrap();
    let changed = rules.replace("hookline_processor_lag_seconds) > 120", "hookline_processor_lag_seconds) > 1200");
    assert_ne!(rules, changed);
    std::fs::write(&file, changed).unwrap();
    let tested = check(copy.path(), &["test", "rules"], TESTS);
    assert!(!tested.status.success() && text(&tested).contains("HooklineLagHigh"), "{}", text(&tested));
    std::fs::write(&file, rules.replace("> 120", "> > 120")).unwrap();
    let checked = check(copy.path(), &["check", "rules"], RULES);
    assert!(!checked.status.success() && text(&checked).contains("parse error"), "{}", text(&checked));
}

/// What is wrong with an alert, as Prometheus tells it.
fn faults(alert: &Value, tests: &str) -> Vec<String> {
    let name = alert["name"].as_str().unwrap();
    let mut faults = Vec::new();
    let mut expect = |sound: bool, what: &str| {
        if !sound {
            faults.push(format!("{name}: {what}"));
        }
    };
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    expect(name.starts_with("Hookline"), "its name has to begin with Hookline");
    let severity = text(&alert["labels"]["severity"]);
    expect(["critical", "warning", "info"].contains(&severity.as_str()), "it has no severity of the three");
    expect(["platform", "product"].contains(&text(&alert["labels"]["owner"]).as_str()), "it has no owner");
    for annotation in ["summary", "description"] {
        expect(!text(&alert["annotations"][annotation]).is_empty(), &format!("it has no {annotation}"));
    }
    let page =
        std::fs::read_to_string(folder(".").join(text(&alert["annotations"]["runbook_url"]))).unwrap_or_default();
    expect(page.contains(&format!("`{name}`")), "its runbook_url is no page that names it");
    for part in ["**What it means.**", "**See.**", "**Do.**"] {
        expect(page.contains(part), &format!("its runbook lacks {part}"));
    }
    // One case in which it fires, and one in which it does not.
    let names_it = |case: &&str| case.strip_prefix(name).is_some_and(|rest| !rest.starts_with(char::is_alphanumeric));
    let cases: Vec<_> = tests.split("alertname: ").skip(1).filter(names_it).collect();
    let fires = cases.iter().any(|case| case.contains("exp_labels"));
    let quiet = cases.iter().any(|case| case.contains("exp_alerts: []"));
    expect(fires, "no test lets it fire");
    expect(quiet, "no test in which it does not fire");
    faults
}

#[tokio::test]
async fn every_alert_has_an_owner_a_severity_a_runbook_and_tests() {
    let prometheus = PrometheusServer::start(&Setup { rules: files(RULES, "yml"), ..Setup::default() }).await;
    let groups = prometheus.rule_groups().await;
    let alerts = groups.iter().flat_map(|group| group["rules"].as_array().unwrap().clone());
    let alerts: Vec<_> = alerts.filter(|rule| rule["type"] == "alerting").collect();
    let tests: Vec<_> = files(TESTS, "yml").iter().map(|file| std::fs::read_to_string(file).unwrap()).collect();
    let tests = tests.join("\n");
    assert!(alerts.len() >= 20, "{} alerts", alerts.len());
    let found: Vec<_> = alerts.iter().flat_map(|alert| faults(alert, &tests)).collect();
    assert!(found.is_empty(), "{found:#?}");

    // The control: one that has nothing of it.
    let bare = serde_json::json!({"name": "HooklineBare", "labels": {}, "annotations": {}});
    assert_eq!(faults(&bare, &tests).len(), 10, "{:#?}", faults(&bare, &tests));
}
