//! The dashboards of `deploy/grafana`: what their panels ask Prometheus and ClickHouse.

use std::process::Command;

use serde_json::Value;

use super::{files, folder};

/// A dashboard's questions, each with where it stands.
#[derive(Debug, Default)]
pub struct Asked {
    pub expressions: Vec<(String, String)>,
    pub statements: Vec<(String, String)>,
}

/// Reads all dashboards, and puts in for variables and macros what Grafana does.
pub fn asked() -> Asked {
    let mut asked = Asked::default();
    for file in files("deploy/grafana/dashboards", "json") {
        let dashboard: Value = serde_json::from_str(&std::fs::read_to_string(&file).unwrap()).unwrap();
        let name = dashboard["title"].as_str().unwrap().to_owned();
        let list = |value: &Value| value.as_array().cloned().unwrap_or_default();
        let panels = list(&dashboard["panels"]);
        let targets = panels.iter().flat_map(|panel| list(&panel["targets"]));
        let variables = list(&dashboard["templating"]["list"]);
        let of_variable = |variable: &Value| {
            let (metric, label) =
                variable["query"].as_str()?.strip_prefix("label_values(")?.strip_suffix(')')?.split_once(", ")?;
            Some(format!("group by ({label}) ({metric})"))
        };
        asked.expressions.extend(variables.iter().filter_map(of_variable).map(|expression| (name.clone(), expression)));
        for target in targets.chain(list(&dashboard["annotations"]["list"])) {
            if let Some(expression) = target["expr"].as_str() {
                asked.expressions.push((name.clone(), with_variables(expression)));
            } else {
                let statement = target["rawSql"].as_str().expect("a target of Prometheus or of ClickHouse");
                asked.statements.push((name.clone(), with_macros(statement)));
            }
        }
    }
    asked
}

fn with_variables(expression: &str) -> String {
    let expression = expression.replace("$__rate_interval", "1m").replace("$source", ".*").replace("$resource", ".*");
    assert!(!expression.contains('$'), "a variable that is not known: {expression}");
    expression
}

/// What the plugin puts in, for the last hour.
fn with_macros(statement: &str) -> String {
    let (from, to) = ("toDateTime(toUnixTimestamp(now()) - 3600)", "toDateTime(toUnixTimestamp(now()))");
    let statement = statement
        .replace("$__timeFilter(received_at)", &format!("received_at >= {from} AND received_at <= {to}"))
        .replace("$__fromTime", from)
        .replace("$__toTime", to);
    assert!(!statement.contains('$'), "a macro that is not known: {statement}");
    statement
}

#[test]
fn the_dashboards_are_what_their_generator_makes() {
    let folder = folder("deploy/grafana");
    let output = Command::new("python3").args(["generate.py", "--check"]).current_dir(&folder).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(files("deploy/grafana/dashboards", "json").len(), 3);
}
