//! What a rebuild has done so far, in a file: each step is recorded before and after, so that one that was killed goes on.

use std::collections::BTreeSet;
use std::path::PathBuf;

use anyhow::bail;
use hookline_schemas::facts::FOLD_VERSION;
use serde::{Deserialize, Serialize};

use super::tables::{Names, TableId};
use super::verify::Verdict;
use crate::log_ids::LogIds;
use crate::replay::plan::PartitionRange;
use crate::state_file::StateFile;

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct State {
    pub database: String,
    /// The offsets mean other records in another cluster, and in a topic that was made anew.
    pub log_ids: LogIds,
    pub fold_version: u16,
    pub step: Step,
    /// The table that was live when the rebuild began.
    pub old: TableId,
    /// The one that is built; none until it is made.
    pub new: Option<TableId>,
    /// What the table that is not live has read, and how far it was to read.
    pub ranges: Vec<PartitionRange>,
    /// While tables are exchanged: how far the live one had read, which then is not live any more.
    pub leaving: Vec<PartitionRange>,
    /// Created hours whose facts the two tables tell differently, Unix seconds: their roll-up is stale after an exchange.
    pub differing_hours: BTreeSet<i64>,
    pub verdict: Option<Verdict>,
}

/// What was done last. Those in progress say that a process began it and that it may have been killed meanwhile.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, strum::IntoStaticStr)]
#[serde(rename_all = "snake_case")]
#[strum(serialize_all = "snake_case")]
pub enum Step {
    /// Records are read into the shadow.
    Filling,
    /// The shadow has every record that there was; what differs is not known yet.
    Filled,
    Verified,
    /// In progress: the shadow becomes the live table, and gets what was written to the other one until then.
    Swapping,
    Swapped,
    /// In progress: the other way round.
    Undoing,
    Undone,
    /// In progress: the table that is not live is dropped, and then this file removed.
    Dropping,
}

/// Which of the two tables is live.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Live {
    Old,
    New,
}

impl State {
    /// The state in the file, which must be one in this database; nothing where there is no file.
    pub fn load(file: &StateFile, database: &str) -> anyhow::Result<Option<Self>> {
        let Some(state) = file.read::<Self>("the state of a rebuild")? else { return Ok(None) };
        if state.database != database {
            bail!("{file} is a rebuild in the database {:?}, and clickhouse.database is {database:?}", state.database);
        }
        Ok(Some(state))
    }

    /// Tells which table is live, if these are the tables of this rebuild.
    pub fn live(&self, names: &Names) -> anyhow::Result<Live> {
        let other = names.jobs_rebuild.as_ref().map(|found| &found.id);
        match &self.new {
            _ if names.jobs == self.old && other == self.new.as_ref() => Ok(Live::Old),
            // It was made, and nobody could say so any more.
            None if names.jobs == self.old && names.jobs_rebuild.as_ref().is_some_and(|found| found.rows == 0) => {
                Ok(Live::Old)
            }
            Some(new) if names.jobs == *new && other == Some(&self.old) => Ok(Live::New),
            _ => bail!(
                "the tables jobs and jobs_rebuild are not those of this rebuild any more: somebody else made, dropped or exchanged one; \
                 look which one has the facts, drop jobs_rebuild if it is of no use, and remove the state file to begin again"
            ),
        }
    }

    /// Tells which table has the name `jobs`, whatever became of the other.
    pub fn named_jobs(&self, names: &Names) -> Live {
        if self.new.as_ref() == Some(&names.jobs) { Live::New } else { Live::Old }
    }

    pub fn records(&self) -> u64 {
        self.ranges.iter().map(PartitionRange::records).sum()
    }

    pub fn done(&self) -> u64 {
        self.ranges.iter().map(PartitionRange::done).sum()
    }

    /// Records that a range was read up to `next`.
    pub fn advance(&mut self, range: &PartitionRange) {
        if let Some(known) = self.ranges.iter_mut().find(|known| range.is_part_of(known)) {
            known.next = known.next.max(range.next.min(known.end));
        }
    }

    /// What this program's fold would add to a table that another one filled is no rebuild.
    pub fn check_fold(&self, file: &StateFile) -> anyhow::Result<()> {
        if self.fold_version != FOLD_VERSION {
            bail!(
                "{file} is a rebuild with version {} of the fold, and this program folds with version {FOLD_VERSION}: drop it with --drop \
                 and begin again, or use the program that began it",
                self.fold_version
            );
        }
        Ok(())
    }

    pub fn check_logs(&self, log_ids: &LogIds, file: &StateFile) -> anyhow::Result<()> {
        if self.log_ids != *log_ids {
            bail!(
                "{file} was made with other topics: they were made anew since, or this is another cluster, and its offsets mean other \
                 records now; drop it with --drop and begin again"
            );
        }
        Ok(())
    }
}

/// Where the diff is written: beside the state.
pub fn diff_path(file: &StateFile) -> PathBuf {
    file.beside("diff.json")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rebuild::tables::Found;

    fn id(text: &str) -> TableId {
        serde_json::from_value(text.into()).unwrap()
    }

    fn state(new: Option<&str>) -> State {
        State {
            database: "d".into(),
            log_ids: LogIds::default(),
            fold_version: FOLD_VERSION,
            step: Step::Filling,
            old: id("a"),
            new: new.map(id),
            ranges: Vec::new(),
            leaving: Vec::new(),
            differing_hours: BTreeSet::new(),
            verdict: None,
        }
    }

    fn names(jobs: &str, other: Option<(&str, u64)>) -> Names {
        Names { jobs: id(jobs), jobs_rebuild: other.map(|(name, rows)| Found { id: id(name), rows }) }
    }

    #[test]
    fn the_uuids_tell_which_table_is_live() {
        let live = |new, jobs, other| state(new).live(&names(jobs, other)).ok();
        assert_eq!(live(None, "a", None), Some(Live::Old), "before the shadow is made");
        assert_eq!(live(None, "a", Some(("b", 0))), Some(Live::Old), "it was made just before a kill");
        assert_eq!(live(Some("b"), "a", Some(("b", 7))), Some(Live::Old));
        assert_eq!(live(Some("b"), "b", Some(("a", 7))), Some(Live::New));
        for (new, jobs, other) in [
            (None, "a", Some(("b", 1))),
            (None, "c", None),
            (Some("b"), "a", None),
            (Some("b"), "b", None),
            (Some("b"), "c", Some(("b", 0))),
            (Some("b"), "a", Some(("c", 0))),
        ] {
            assert_eq!(live(new, jobs, other), None, "{new:?} {jobs} {other:?}");
        }
    }

    #[test]
    fn another_database_fold_or_log_is_told() {
        let folder = tempfile::tempdir().unwrap();
        let file = StateFile::new(&folder.path().join("rebuild.json"));
        assert_eq!(State::load(&file, "d").unwrap(), None);
        file.save(&state(Some("b"))).unwrap();
        assert_eq!(State::load(&file, "d").unwrap(), Some(state(Some("b"))));
        assert!(State::load(&file, "e").unwrap_err().to_string().contains("in the database \"d\""));
        assert!(state(None).check_fold(&file).is_ok() && state(None).check_logs(&LogIds::default(), &file).is_ok());
        let other = State { fold_version: FOLD_VERSION + 1, ..state(None) };
        assert!(other.check_fold(&file).unwrap_err().to_string().contains("--drop"));
        assert_eq!(diff_path(&file), folder.path().join("rebuild.diff.json"));
        file.remove().unwrap();
        assert_eq!(State::load(&file, "d").unwrap(), None);
    }
}
