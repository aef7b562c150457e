//! The steps before the tables are exchanged: plan, make the shadow, fill it, verify it.

use std::collections::BTreeSet;
use std::time::Instant;

use anyhow::bail;
use hookline_schemas::facts::FOLD_VERSION;

use super::Rebuild;
use super::report::{self, Filled};
use super::state::{Live, State, Step, diff_path};
use crate::clickhouse::columns::Table;
use crate::fail_point::{FailPoint, hit};
use crate::replay::report::Took;

impl Rebuild {
    /// Goes on until the shadow is verified.
    pub fn build(&self, known: Option<State>) -> anyhow::Result<()> {
        let mut state = match known {
            Some(state) => state,
            None => self.begin()?,
        };
        state.check_fold(&self.file)?;
        state.check_logs(&self.log_ids, &self.file)?;
        if matches!(state.step, Step::Swapping | Step::Undoing | Step::Dropping) || self.live(&state)? == Live::New {
            bail!("{}", report::next(&state));
        }
        if state.new.is_none() {
            self.make_shadow(&mut state)?;
        }
        self.clickhouse_takes(Table::JobsRebuild)?;
        let mut filled = None;
        if state.step == Step::Filling {
            let (began, done_before) = (Instant::now(), state.done());
            self.read_to_the_end(&mut state, Table::JobsRebuild, &|_, _| {})?;
            let took = Took { took: began.elapsed(), waited: self.give_way.waited() };
            filled = Some(Filled { records: state.done() - done_before, took });
            self.carry_counted(Table::Jobs, Table::JobsRebuild)?;
            self.record(&mut state, Step::Filled)?;
            hit(FailPoint::AfterFill);
        }
        let verdict = self.verify(&mut state)?;
        self.record(&mut state, Step::Verified)?;
        hit(FailPoint::AfterVerify);
        report::print_verdict(self.display.json, &self.file, &verdict, filled);
        if verdict.loses() {
            bail!(
                "the new table lacks what the old one or deliveries know, see above and {}: `--swap` refuses it without --accept-loss",
                diff_path(&self.file).display()
            );
        }
        Ok(())
    }

    /// Begins a rebuild, if there is room for it, and nothing of another one.
    fn begin(&self) -> anyhow::Result<State> {
        self.wait(self.tables.check_engine())?;
        let names = self.wait(self.tables.names())?;
        if names.jobs_rebuild.is_some() {
            bail!(
                "there is a table jobs_rebuild, and {} does not exist, which would tell what it is: name the state file of that rebuild, or \
                 drop the table if it is of no use",
                self.file
            );
        }
        let plan = self.plan(None)?;
        plan.check_room()?;
        let state = State {
            database: self.config.clickhouse.database.clone(),
            log_ids: self.log_ids.clone(),
            fold_version: FOLD_VERSION,
            step: Step::Filling,
            old: names.jobs,
            new: None,
            ranges: plan.ranges,
            leaving: Vec::new(),
            differing_hours: BTreeSet::new(),
            verdict: None,
        };
        self.file.save(&state)?;
        Ok(state)
    }

    /// Makes the shadow, unless that was done just before a kill.
    fn make_shadow(&self, state: &mut State) -> anyhow::Result<()> {
        if self.wait(self.tables.names())?.jobs_rebuild.is_none() {
            self.wait(self.tables.create_shadow())?;
        }
        hit(FailPoint::AfterShadow);
        state.new = self.wait(self.tables.names())?.jobs_rebuild.map(|found| found.id);
        self.file.save(state)
    }

    /// Compares the columns of a table with those that are written.
    pub fn clickhouse_takes(&self, table: Table) -> anyhow::Result<()> {
        self.wait(async { Ok(self.clickhouse.check(table).await?) })
    }
}
