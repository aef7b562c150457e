//! Which records are shown.

use hookline_schemas::ids::{Action, Resource};
use hookline_schemas::topics::Topic;

use super::record::Shown;

/// Selects records; without an argument, all of the resource topics. Of several values of one argument any is taken.
#[derive(Clone, Debug, Default, clap::Args)]
pub struct TailSelection {
    /// Only jobs of this resource: video, image or audio; may be given several times, as all that follow
    #[arg(long = "resource", value_name = "RESOURCE", value_parser = resource)]
    resources: Vec<Resource>,
    /// Only what this source sent
    #[arg(long = "source", value_name = "NAME")]
    sources: Vec<String>,
    /// Only jobs of this type, such as FACE_SWAP
    #[arg(long = "type", value_name = "TYPE")]
    types: Vec<String>,
    /// Only what happened to the job so: started, completed or errored
    #[arg(long = "outcome", value_name = "OUTCOME", value_parser = action)]
    outcomes: Vec<Action>,
    /// Only the job with this id
    #[arg(long = "job", value_name = "ID")]
    jobs: Vec<String>,
    /// The dead letters instead of the resource topics
    #[arg(long)]
    dead_letters: bool,
}

fn resource(text: &str) -> Result<Resource, String> {
    let found = Resource::ALL.into_iter().find(|resource| resource.as_str() == text);
    found.ok_or_else(|| {
        format!("{text:?} is not a resource: expected video, image or audio; dead letters have --dead-letters")
    })
}

fn action(text: &str) -> Result<Action, String> {
    text.parse().map_err(|_| format!("{text:?} is not an outcome: expected started, completed or errored"))
}

impl TailSelection {
    /// The topics in which such records lie.
    pub fn topics(&self) -> Vec<Topic> {
        let wanted = |topic: &Topic| match topic {
            Topic::DeadLetter => self.dead_letters,
            Topic::Resource(resource) => !self.dead_letters && allows(&self.resources, resource),
        };
        Topic::ALL.into_iter().filter(wanted).collect()
    }

    /// Whether a record is one of them. What a record does not tell is none of the values that are asked for.
    pub fn takes(&self, record: &Shown) -> bool {
        let event = record.event();
        let known = |value: &str, wanted: &[String]| wanted.is_empty() || wanted.iter().any(|wanted| wanted == value);
        known(&record.source, &self.sources)
            && known(&record.job_id, &self.jobs)
            && known(&record.job_type, &self.types)
            && (self.resources.is_empty() || event.is_some_and(|event| self.resources.contains(&event.resource)))
            && (self.outcomes.is_empty() || event.is_some_and(|event| self.outcomes.contains(&event.action)))
    }
}

fn allows<T: PartialEq>(wanted: &[T], value: &T) -> bool {
    wanted.is_empty() || wanted.contains(value)
}
