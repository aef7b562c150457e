//! An expression of PromQL taken apart: which series it names, and what of it has data where all is well.

use std::collections::{BTreeMap, BTreeSet};

use hookline_testkit::Page;
use promql_parser::parser::value::ValueType;
use promql_parser::parser::{Expr, LabelModifier, VectorSelector, parse};

/// Labels that Prometheus adds to what it scrapes, and that of a histogram's buckets.
const ADDED: [&str; 3] = ["job", "instance", "le"];
/// Metrics that Prometheus makes itself.
const OWN: [&str; 1] = ["up"];

/// The labels of each metric: those of the pages, and those of rules that record, whose labels are not told.
pub struct Known {
    labels: BTreeMap<String, BTreeSet<String>>,
    recorded: BTreeSet<String>,
}

impl Known {
    pub fn new<'p>(pages: impl Iterator<Item = &'p Page>, recorded: BTreeSet<String>) -> Self {
        let mut labels: BTreeMap<_, BTreeSet<_>> = BTreeMap::new();
        for line in pages.flat_map(|page| page.0.lines()).filter(|line| !line.starts_with('#')) {
            let Some((series, _)) = line.rsplit_once(' ') else { continue };
            let (name, rest) = series.split_once('{').unwrap_or((series, ""));
            let names = rest.split("=\"").filter_map(|part| part.rsplit([',', '{', '"']).next());
            let names = names.filter(|name| !name.is_empty() && name.chars().all(|c| c.is_alphanumeric() || c == '_'));
            labels.entry(name.to_owned()).or_default().extend(names.map(str::to_owned));
        }
        Self { labels, recorded }
    }

    /// What an expression names that there is not.
    pub fn faults(&self, text: &str) -> Vec<String> {
        match parse(text) {
            Ok(expression) => self.faults_of(&expression, &[]),
            Err(error) => vec![format!("it is no PromQL: {error}")],
        }
    }

    fn faults_of(&self, expression: &Expr, grouped_by: &[String]) -> Vec<String> {
        if let Expr::VectorSelector(selector) = expression {
            return self.faults_of_selector(selector, grouped_by);
        }
        if let Expr::MatrixSelector(selector) = expression {
            return self.faults_of_selector(&selector.vs, grouped_by);
        }
        // Inside of an aggregation its labels are needed; a match of two vectors needs its own.
        let needed = if let Expr::Aggregate(aggregate) = expression {
            labels(aggregate.modifier.as_ref())
        } else if let Expr::Binary(binary) = expression {
            let matched = labels(binary.modifier.as_ref().and_then(|modifier| modifier.matching.as_ref()));
            [grouped_by, &matched].concat()
        } else {
            grouped_by.to_vec()
        };
        parts(expression).into_iter().flat_map(|part| self.faults_of(part, &needed)).collect()
    }

    fn faults_of_selector(&self, selector: &VectorSelector, grouped_by: &[String]) -> Vec<String> {
        let name = selector.name.as_deref().unwrap_or_default();
        if OWN.contains(&name) || self.recorded.contains(name) {
            return Vec::new();
        }
        let Some(known) = self.labels.get(name) else { return vec![format!("there is no metric {name}")] };
        let matched = selector.matchers.matchers.iter().map(|matcher| &matcher.name);
        let wanted: BTreeSet<_> = matched.chain(grouped_by).map(String::as_str).collect();
        let missing = wanted.into_iter().filter(|label| !known.contains(*label) && !ADDED.contains(label));
        missing.map(|label| format!("{name} has no label {label}")).collect()
    }
}

/// The labels of `by (…)` and `on (…)`.
fn labels(modifier: Option<&LabelModifier>) -> Vec<String> {
    match modifier {
        Some(LabelModifier::Include(labels)) => labels.labels.clone(),
        Some(LabelModifier::Exclude(_)) | None => Vec::new(),
    }
}

fn parts(expression: &Expr) -> Vec<&Expr> {
    match expression {
        Expr::Aggregate(aggregate) => {
            [&aggregate.expr].into_iter().chain(&aggregate.param).map(|part| &**part).collect()
        }
        Expr::Unary(unary) => vec![&unary.expr],
        Expr::Binary(binary) => vec![&binary.lhs, &binary.rhs],
        Expr::Paren(paren) => vec![&paren.expr],
        Expr::Subquery(subquery) => vec![&subquery.expr],
        Expr::Call(call) => call.args.args.iter().map(|argument| &**argument).collect(),
        Expr::NumberLiteral(_)
        | Expr::StringLiteral(_)
        | Expr::VectorSelector(_)
        | Expr::MatrixSelector(_)
        | Expr::Extension(_) => Vec::new(),
    }
}

/// What of an expression has data also where nothing is wrong: its vectors without the conditions.
pub fn questions(text: &str) -> Vec<String> {
    questions_of(parse(text).expect("PromQL"))
}

fn questions_of(expression: Expr) -> Vec<String> {
    if let Expr::Paren(paren) = expression {
        return questions_of(*paren.expr);
    }
    match expression {
        Expr::Binary(binary) if binary.op.is_set_operator() || binary.op.is_comparison_operator() => {
            let sides = [*binary.lhs, *binary.rhs];
            sides.into_iter().filter(|side| side.value_type() == ValueType::Vector).flat_map(questions_of).collect()
        }
        Expr::Call(call) if call.func.name == "absent" => {
            call.args.args.into_iter().flat_map(|argument| questions_of(*argument)).collect()
        }
        Expr::Aggregate(_)
        | Expr::Unary(_)
        | Expr::Binary(_)
        | Expr::Paren(_)
        | Expr::Subquery(_)
        | Expr::NumberLiteral(_)
        | Expr::StringLiteral(_)
        | Expr::VectorSelector(_)
        | Expr::MatrixSelector(_)
        | Expr::Call(_)
        | Expr::Extension(_) => vec![without_conditions(expression).to_string()],
    }
}

/// The same where every comparison is what stands on its left.
fn without_conditions(expression: Expr) -> Expr {
    let inner = |part: Box<Expr>| Box::new(without_conditions(*part));
    match expression {
        Expr::Binary(binary) if binary.op.is_comparison_operator() => without_conditions(*binary.lhs),
        Expr::Binary(mut binary) => {
            (binary.lhs, binary.rhs) = (inner(binary.lhs), inner(binary.rhs));
            Expr::Binary(binary)
        }
        Expr::Aggregate(mut aggregate) => {
            aggregate.expr = inner(aggregate.expr);
            Expr::Aggregate(aggregate)
        }
        Expr::Unary(mut unary) => {
            unary.expr = inner(unary.expr);
            Expr::Unary(unary)
        }
        Expr::Paren(mut paren) => {
            paren.expr = inner(paren.expr);
            Expr::Paren(paren)
        }
        Expr::Subquery(mut subquery) => {
            subquery.expr = inner(subquery.expr);
            Expr::Subquery(subquery)
        }
        Expr::Call(mut call) => {
            call.args.args = call.args.args.into_iter().map(inner).collect();
            Expr::Call(call)
        }
        leaf @ (Expr::NumberLiteral(_)
        | Expr::StringLiteral(_)
        | Expr::VectorSelector(_)
        | Expr::MatrixSelector(_)
        | Expr::Extension(_)) => leaf,
    }
}

#[test]
fn conditions_are_taken_away_and_both_sides_asked() {
    let questions = |text: &str| questions(text).into_iter().map(|text| text.replace(' ', "")).collect::<Vec<_>>();
    assert_eq!(questions("sum by (a) (rate(x[5m])) > 3 and y >= 1"), ["sumby(a)(rate(x[5m]))", "y"]);
    assert_eq!(questions("time() - t > 300 or absent(t)"), ["time()-t", "t"]);
    assert_eq!(questions("count by (s) (sum by (s, k) (x) > 0) > 1"), ["countby(s)(sumby(s,k)(x))"]);
    assert_eq!(questions("a / (b > 0)"), ["a/(b)"]);
    assert_eq!(questions("r > on (s) group_left () (6 * (1 - o))"), ["r", "6*(1-o)"]);
}

#[test]
fn what_there_is_not_is_found() {
    let page = Page("a_total{source=\"x,y=\\\"\",reason=\"r\"} 1\nb_bucket{le=\"1\"} 2\nc 3\n".into());
    let known = Known::new([&page].into_iter(), ["level:a:sum".to_owned()].into());
    for sound in [
        "sum by (source, instance) (rate(a_total{reason=~\"r.*\"}[5m]))",
        "histogram_quantile(0.9, sum by (le) (rate(b_bucket[5m])))",
        "level:a:sum{anything=\"x\"} > on (source) c * a_total",
        "up{job=\"x\"} == 0",
    ] {
        let expected: &[&str] = if sound.contains("on (source)") { &["c has no label source"] } else { &[] };
        assert_eq!(known.faults(sound), expected, "{sound}");
    }
    for (wrong, fault) in [
        ("rate(a_totals[5m])", "there is no metric a_totals"),
        ("sum by (sources) (a_total)", "a_total has no label sources"),
        ("c{reason=\"r\"}", "c has no label reason"),
        ("absent(d)", "there is no metric d"),
    ] {
        assert_eq!(known.faults(wrong), [fault], "{wrong}");
    }
    assert!(known.faults("sum(")[0].starts_with("it is no PromQL"));
}
