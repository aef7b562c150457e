//! Which jobs a question is about. Every dimension takes several values; none means all.

use hookline_schemas::outcome::Outcome;

use super::statement::Parameter;
use super::{Dimension, ReadFrom};

/// The values that each dimension may have.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Filter {
    pub source: Vec<String>,
    pub resource: Vec<String>,
    pub job_type: Vec<String>,
    pub error_code: Vec<String>,
    pub outcome: Vec<Outcome>,
}

impl Filter {
    fn values(&self, dimension: Dimension) -> &[String] {
        match dimension {
            Dimension::Source => &self.source,
            Dimension::Resource => &self.resource,
            Dimension::JobType => &self.job_type,
            Dimension::ErrorCode => &self.error_code,
        }
    }

    /// A condition on the columns of `job_facts` or the views of the roll-up; `1` where every job is asked for.
    pub fn condition(&self, read_from: ReadFrom) -> String {
        let dimensions = Dimension::ALL.into_iter().filter(|dimension| !self.values(*dimension).is_empty());
        let dimensions = dimensions
            .map(|dimension| format!("{} IN {{{}:Array(String)}}", dimension.expression(read_from), dimension.name()));
        let outcome = (!self.outcome.is_empty()).then(|| "outcome IN {outcome:Array(String)}".to_owned());
        let conditions: Vec<_> = dimensions.chain(outcome).collect();
        if conditions.is_empty() { "1".to_owned() } else { conditions.join(" AND ") }
    }

    /// The same on the columns `source` and `resource` alone, for tables that know no other dimension.
    pub fn of_source_and_resource(&self) -> Self {
        Self { source: self.source.clone(), resource: self.resource.clone(), ..Self::default() }
    }

    /// The parameters of [`Self::condition`].
    pub fn parameters(&self) -> Vec<(&'static str, Parameter)> {
        let dimensions = Dimension::ALL.into_iter().filter(|dimension| !self.values(*dimension).is_empty());
        let dimensions =
            dimensions.map(|dimension| (dimension.name(), Parameter::Texts(self.values(dimension).to_vec())));
        let outcomes = || self.outcome.iter().map(|outcome| outcome.as_str().to_owned()).collect();
        let outcome = (!self.outcome.is_empty()).then(|| ("outcome", Parameter::Texts(outcomes())));
        dimensions.chain(outcome).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_parameters_and_never_sql() {
        let odd = "'; DROP TABLE jobs --".to_owned();
        let filter = Filter {
            source: vec![odd.clone(), "b".into()],
            error_code: vec![odd],
            outcome: vec![Outcome::Errored],
            ..Filter::default()
        };
        assert_eq!(
            filter.condition(ReadFrom::Facts),
            "source IN {source:Array(String)} AND if(outcome = 'errored', error_code, '') IN {error_code:Array(String)} \
             AND outcome IN {outcome:Array(String)}"
        );
        let names: Vec<_> = filter.parameters().into_iter().map(|(name, _)| name).collect();
        assert_eq!(names, ["source", "error_code", "outcome"]);
        assert_eq!(Filter::default().condition(ReadFrom::Rollup), "1");
        assert_eq!(Filter::default().parameters(), []);
    }
}
