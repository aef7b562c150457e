//! The shape of JSON and of pages of metrics, without the values: keys and types, families and labels.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use hookline_testkit::{OF_DATA, Page};
use serde_json::Value;

/// The path of every value, and the types of the values there. All elements of a list have one path, or one for each `kind`; all
/// statuses of answers have one.
pub fn keys(value: &Value) -> String {
    let mut found = BTreeMap::new();
    collect(value, String::new(), &mut found);
    found.into_iter().fold(String::new(), |mut text, (path, types)| {
        let types: Vec<_> = types.into_iter().collect();
        writeln!(text, "{path}: {}", types.join(" or ")).unwrap();
        text
    })
}

fn collect(value: &Value, path: String, found: &mut BTreeMap<String, BTreeSet<&'static str>>) {
    let name = match value {
        Value::Null => "null",
        Value::Bool(_) => "bool",
        Value::Number(_) => "number",
        Value::String(_) => "string",
        Value::Array(elements) => {
            for element in elements {
                let kind = element["kind"].as_str().unwrap_or_default();
                collect(element, format!("{path}[{kind}]"), found);
            }
            "list"
        }
        Value::Object(members) => {
            for (key, member) in members {
                let key = if key == "unknown" || key.parse::<u16>().is_ok() { "{status}" } else { key };
                collect(member, if path.is_empty() { key.to_owned() } else { format!("{path}.{key}") }, found);
            }
            // The keys of an object have paths of their own.
            return;
        }
    };
    found.entry(path).or_default().insert(name);
}

/// Name, type, help and labels of every family but `process_…`, which depends on the operating system. The values of a label are
/// included where the code names them: neither words of webhooks nor numbers of partitions.
pub fn families(page: &Page, prefix: &str) -> String {
    let mut text = String::new();
    let mut help = "";
    for line in page.0.lines() {
        if let Some(line) = line.strip_prefix("# HELP ") {
            help = line.split_once(' ').unwrap().1;
        } else if let Some(line) = line.strip_prefix("# TYPE ") {
            let (name, kind) = line.split_once(' ').unwrap();
            if !name.starts_with("process_") {
                let labels = labels(page, name, kind);
                writeln!(text, "{name} {kind}{}\n    {help}", labels.replace(prefix, "{prefix}")).unwrap();
            }
        }
    }
    text
}

fn labels(page: &Page, name: &str, kind: &str) -> String {
    let series = page.labels(&if kind == "histogram" { format!("{name}_count") } else { name.to_owned() });
    let mut found: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for labels in &series {
        // In `a="x",b="y"`, names and values alternate between the quotation marks.
        let parts: Vec<_> = labels.split('"').collect();
        for pair in parts.chunks_exact(2) {
            found.entry(pair[0].trim_matches([',', '='])).or_default().insert(pair[1]);
        }
    }
    let is_ours = |label: &str| !OF_DATA.contains(&name) && label != "partition";
    found.into_iter().fold(String::new(), |mut text, (label, values)| {
        let values: Vec<_> = values.into_iter().collect();
        match is_ours(label) {
            true => write!(text, " {label}={}", values.join("|")).unwrap(),
            false => write!(text, " {label}").unwrap(),
        }
        text
    })
}
