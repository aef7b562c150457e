//! What metrics said at one moment: read from the page of each listener, or from the answer of a Prometheus.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::totals::{METRICS, is_counter};
use crate::query::timestamp::Timestamp;

/// One series of a metric of the pipeline.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Series {
    pub(super) metric: &'static str,
    labels: BTreeMap<String, String>,
    /// The process that shows it: the address of its listener, or the labels `job` and `instance` in Prometheus.
    process: String,
}

impl Series {
    pub(super) fn label(&self, name: &str) -> &str {
        self.labels.get(name).map_or("", String::as_str)
    }
}

/// The values of all series at one moment.
#[derive(Clone, Debug)]
pub struct Reading {
    pub at: Timestamp,
    /// Listeners, or the Prometheus, that did not answer.
    pub unreachable: Vec<Unreachable>,
    samples: BTreeMap<Series, f64>,
    processes: BTreeSet<String>,
}

/// Who did not answer, and why.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Unreachable {
    pub url: String,
    pub error: String,
}

/// A program whose metrics are read; all of them begin with its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Program {
    Ingest,
    Processor,
}

impl Program {
    const fn prefix(self) -> &'static str {
        match self {
            Self::Ingest => "hookline_ingest_",
            Self::Processor => "hookline_processor_",
        }
    }
}

/// An answer that Prometheus does not give to a question for an instant vector.
#[derive(Debug, thiserror::Error)]
pub enum AnswerError {
    #[error("it is not the JSON of an instant vector: {0}")]
    NotVector(#[from] serde_json::Error),
    #[error("Prometheus refused the question: {0}")]
    Refused(String),
}

/// The question for every series of the pipeline, in PromQL.
pub fn prometheus_query() -> String {
    format!("{{__name__=~\"{}\"}}", METRICS.join("|"))
}

#[derive(Deserialize)]
#[serde(tag = "status", rename_all = "lowercase")]
enum Answer {
    Success { data: Vector },
    Error { error: String },
}

#[derive(Deserialize)]
struct Vector {
    result: Vec<Element>,
}

#[derive(Deserialize)]
struct Element {
    metric: BTreeMap<String, String>,
    /// The time of the question, and the value as text.
    value: (f64, String),
}

fn known(metric: &str) -> Option<&'static str> {
    METRICS.into_iter().find(|known| *known == metric)
}

fn finite(text: &str) -> Option<f64> {
    text.parse().ok().filter(|value: &f64| value.is_finite())
}

impl Reading {
    pub const fn new(at: Timestamp) -> Self {
        Self { at, unreachable: Vec::new(), samples: BTreeMap::new(), processes: BTreeSet::new() }
    }

    /// Takes in the page of the listener at `url`, in the text format of Prometheus.
    pub fn add_page(&mut self, url: &str, page: &str) {
        self.processes.insert(url.to_owned());
        let lines = page.lines().filter(|line| !line.starts_with('#'));
        let samples = lines.filter_map(|line| {
            let (series, value) = line.rsplit_once(' ')?;
            let (name, labels) = series.split_once('{').unwrap_or((series, ""));
            let series = Series { metric: known(name)?, labels: labels_of(labels), process: url.to_owned() };
            Some((series, finite(value)?))
        });
        self.samples.extend(samples);
    }

    /// Takes in what Prometheus answered to [`prometheus_query`].
    pub fn add_prometheus_answer(&mut self, answer: &str) -> Result<(), AnswerError> {
        let vector = match serde_json::from_str(answer)? {
            Answer::Success { data } => data,
            Answer::Error { error } => return Err(AnswerError::Refused(error)),
        };
        for Element { mut metric, value: (_, value) } in vector.result {
            let mut take = |label| metric.remove(label).unwrap_or_default();
            let (name, process) = (take("__name__"), format!("{} {}", take("job"), take("instance")));
            let (Some(name), Some(value)) = (known(&name), finite(&value)) else { continue };
            self.processes.insert(process.clone());
            self.samples.insert(Series { metric: name, labels: metric, process }, value);
        }
        Ok(())
    }

    /// What it has of one program alone: nobody answered where no process of that program did.
    pub fn of(&self, program: Program) -> Self {
        let own = |series: &Series| series.metric.starts_with(program.prefix());
        let samples = self.samples.iter().filter(|(series, _)| own(series));
        let samples: BTreeMap<_, _> = samples.map(|(series, value)| (series.clone(), *value)).collect();
        let processes = samples.keys().map(|series| series.process.clone()).collect();
        Self { at: self.at, unreachable: self.unreachable.clone(), samples, processes }
    }

    /// Whether nobody answered.
    pub fn is_empty(&self) -> bool {
        self.processes.is_empty()
    }

    pub fn samples(&self) -> impl Iterator<Item = (&Series, f64)> {
        self.samples.iter().map(|(series, value)| (series, *value))
    }

    /// Whether any process was read both then and now.
    pub fn continues(&self, before: &Self) -> bool {
        !self.processes.is_disjoint(&before.processes)
    }

    /// What counters grew by since `before`, of the processes that were read both times. One that went back began anew at 0.
    pub fn increases(&self, before: &Self) -> impl Iterator<Item = (&Series, f64)> {
        let both = self
            .samples()
            .filter(|(series, _)| is_counter(series.metric) && before.processes.contains(&series.process));
        both.map(|(series, value)| {
            let start = before.samples.get(series).copied().filter(|start| *start <= value).unwrap_or(0.0);
            (series, value - start)
        })
    }
}

/// The labels as a page writes them, `a="x",b="y"}`: a value escapes `\`, `"` and the end of a line.
fn labels_of(text: &str) -> BTreeMap<String, String> {
    let mut labels = BTreeMap::new();
    let mut rest = text;
    while let Some((name, after)) = rest.split_once("=\"") {
        let mut value = String::new();
        let mut characters = after.chars();
        loop {
            match characters.next() {
                Some('\\') => {
                    value.extend(characters.next().map(|escaped| if escaped == 'n' { '\n' } else { escaped }));
                }
                Some('"') | None => break,
                Some(character) => value.push(character),
            }
        }
        labels.insert(name.trim_start_matches([',', ' ']).to_owned(), value);
        rest = characters.as_str();
    }
    labels
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_of_labels_may_hold_anything() {
        let labels = labels_of(r#"a="x,y=\"1\"}",b="\\n\n",empty=""}"#);
        let expected = [("a", "x,y=\"1\"}"), ("b", "\\n\n"), ("empty", "")];
        assert_eq!(labels, expected.map(|(name, value)| (name.to_owned(), value.to_owned())).into());
        assert!(labels_of("").is_empty() && labels_of("a").is_empty());
    }

    #[test]
    fn a_page_and_prometheus_say_the_same() {
        let mut page = Reading::new(Timestamp(0));
        page.add_page(
            "u",
            "hookline_ingest_answers_total{status=\"200\"} 5\nhookline_ingest_connections 3\nbroken\n\
                             hookline_processor_lag_seconds NaN\n",
        );
        let mut prometheus = Reading::new(Timestamp(0));
        let answer = r#"{"status":"success","data":{"resultType":"vector","result":[
            {"metric":{"__name__":"hookline_ingest_answers_total","instance":"h:1","job":"i","status":"200"},"value":[1.5,"5"]}]}}"#;
        prometheus.add_prometheus_answer(answer).unwrap();
        for reading in [page, prometheus] {
            let samples: Vec<_> = reading.samples().map(|(series, value)| (series.label("status"), value)).collect();
            assert_eq!(samples, [("200", 5.0)]);
        }
    }

    #[test]
    fn a_program_that_does_not_tell_is_not_there() {
        let mut reading = Reading::new(Timestamp(0));
        reading.add_page("i", "hookline_ingest_answers_total{status=\"200\"} 5\n");
        let (ingest, processor) = (reading.of(Program::Ingest), reading.of(Program::Processor));
        assert!(!ingest.is_empty() && processor.is_empty());
        assert_eq!((ingest.samples().count(), processor.samples().count()), (1, 0));
        assert!(!processor.continues(&reading));
    }

    #[test]
    fn what_prometheus_refuses_is_said() {
        let refused = r#"{"status":"error","errorType":"bad_data","error":"too many"}"#;
        let error = |answer| Reading::new(Timestamp(0)).add_prometheus_answer(answer).unwrap_err().to_string();
        assert_eq!(error(refused), "Prometheus refused the question: too many");
        for other in ["", "<html>", "{}", r#"{"status":"success","data":{"resultType":"scalar","result":[1,"2"]}}"#] {
            assert!(error(other).starts_with("it is not the JSON of an instant vector"), "{other}");
        }
    }

    #[test]
    fn every_metric_is_asked_for() {
        let query = prometheus_query();
        assert!(query.starts_with("{__name__=~\"hookline_ingest_answers_total|") && query.ends_with("\"}"), "{query}");
        assert!(!query.contains(['.', '*', '+']), "{query}: only whole names");
    }
}
