//! Rows of an answer as CSV, for the API and the terminal.

use serde_json::Value;

/// A list of objects as a table: a column for each member of any row, those of an object within joined by `_`.
pub(crate) fn to_csv(rows: &Value) -> anyhow::Result<Vec<u8>> {
    let rows = rows.as_array().map(Vec::as_slice).unwrap_or_default();
    let rows: Vec<Vec<(String, String)>> = rows
        .iter()
        .map(|row| {
            let mut cells = Vec::new();
            flatten("", row, &mut cells);
            cells
        })
        .collect();
    let mut columns: Vec<&str> = Vec::new();
    for (name, _) in rows.iter().flatten() {
        if !columns.contains(&name.as_str()) {
            columns.push(name);
        }
    }
    let mut writer = csv::Writer::from_writer(Vec::new());
    if !columns.is_empty() {
        writer.write_record(&columns)?;
    }
    for row in &rows {
        let cell = |column: &&str| row.iter().find(|(name, _)| name == column).map_or("", |(_, value)| value.as_str());
        writer.write_record(columns.iter().map(cell))?;
    }
    Ok(writer.into_inner()?)
}

fn flatten(name: &str, value: &Value, cells: &mut Vec<(String, String)>) {
    match value {
        Value::Object(members) => {
            for (member, value) in members {
                let name = if name.is_empty() { member.clone() } else { format!("{name}_{member}") };
                flatten(&name, value, cells);
            }
        }
        Value::Array(values) => {
            let texts: Vec<_> = values.iter().map(text).collect();
            cells.push((name.to_owned(), texts.join(" ")));
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {
            cells.push((name.to_owned(), text(value)));
        }
    }
}

/// A text that a spreadsheet would take for a formula is quoted, since the provider chooses it.
fn text(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::String(text) if text.starts_with(['=', '@', '+', '\t', '\r']) => format!("'{text}"),
        Value::String(text) if text.starts_with('-') && text.parse::<f64>().is_err() => format!("'{text}"),
        Value::String(text) => text.clone(),
        Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::Object(_) => value.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn rows_become_a_table() {
        let rows = json!([
            { "a": "x,\"y\"", "total": { "p50": 1.5 }, "ids": ["1", "2"] },
            { "a": "=1+1", "b": null, "c": "-5", "d": "-x" },
        ]);
        let table = String::from_utf8(to_csv(&rows).unwrap()).unwrap();
        assert_eq!(table, "a,ids,total_p50,b,c,d\n\"x,\"\"y\"\"\",1 2,1.5,,,\n'=1+1,,,,-5,'-x\n");
        assert_eq!(to_csv(&json!([])).unwrap(), b"");
    }
}
