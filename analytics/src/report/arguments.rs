//! The values that the command line has for the dimensions and for the view to read from.

use clap::ValueEnum;
use clap::builder::PossibleValue;

use crate::query::{Dimension, ReadFrom};

impl ValueEnum for ReadFrom {
    fn value_variants<'a>() -> &'a [Self] {
        &Self::ALL
    }

    fn to_possible_value(&self) -> Option<PossibleValue> {
        Some(PossibleValue::new(self.name()).help(match self {
            Self::Facts => "`job_facts`, a row for each job",
            Self::Rollup => "`job_stats_by_hour`, a row for each hour and kind of job, and minutes at the edges",
        }))
    }
}

impl ValueEnum for Dimension {
    fn value_variants<'a>() -> &'a [Self] {
        &Self::ALL
    }

    fn to_possible_value(&self) -> Option<PossibleValue> {
        let (name, help) = match self {
            Self::Source => ("source", "The account or environment that sent the webhooks"),
            Self::Resource => ("resource", "Video, image or audio"),
            Self::JobType => ("job-type", "The provider's type of the job"),
            Self::ErrorCode => ("error-code", "Why the job failed; nothing for a completed one"),
        };
        Some(PossibleValue::new(name).help(help))
    }
}
