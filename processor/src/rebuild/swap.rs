//! Exchanges the two tables, in either direction: the shadow becomes live, or the old table again.
//!
//! Whatever is killed on the way, one table or the other is live, whole but for what is on its way into the other one; the same command
//! goes on from there. An insert that had begun before the EXCHANGE lands in the table that leaves. So these inserts are waited for, and
//! only then the end of the log is asked for: what they bring lies before it, and is read into the table that is live now.

use std::collections::BTreeSet;
use std::time::Instant;

use anyhow::{Context as _, bail};
use hookline_schemas::facts::FOLD_VERSION;
use hookline_schemas::time::CreatedHour;
use hookline_service::admin::Readiness;
use hookline_service::telemetry;

use super::fill::Stopped;
use super::positions::{earlier, from_committed};
use super::state::{Live, State, Step, diff_path};
use super::verify::hours_of;
use super::{Rebuild, counted, inserts, members, report};
use crate::batch::fold::Folded;
use crate::clickhouse::columns::Table;
use crate::fail_point::{FailPoint, hit};
use crate::replay::report::count;
use crate::writer::rollup::Refresher;

impl Rebuild {
    pub fn swap(&self, mut state: State, accept_loss: bool) -> anyhow::Result<()> {
        state.check_fold(&self.file)?;
        state.check_logs(&self.log_ids, &self.file)?;
        match state.step {
            Step::Verified => {
                let verdict =
                    state.verdict.as_ref().context("the state file has no verdict: remove it to begin again")?;
                if verdict.loses() && !accept_loss {
                    report::print_verdict(self.display.json, &self.file, verdict, None);
                    bail!(
                        "the new table lacks what the old one or deliveries know: look at {}, and say --accept-loss if that is meant",
                        diff_path(&self.file).display()
                    );
                }
            }
            Step::Swapping => {}
            Step::Filling | Step::Filled | Step::Swapped | Step::Undoing | Step::Undone | Step::Dropping => {
                bail!("{}", report::next(&state))
            }
        }
        self.exchange(&mut state, Live::New, Step::Swapping)?;
        self.record(&mut state, Step::Swapped)?;
        report::print_exchanged(self.display.json, &state);
        Ok(())
    }

    pub fn undo(&self, mut state: State) -> anyhow::Result<()> {
        state.check_logs(&self.log_ids, &self.file)?;
        match (state.step, self.live(&state)?) {
            (Step::Swapping, Live::Old) => {
                self.record(&mut state, Step::Verified)?;
                report::print_not_exchanged(self.display.json);
                return Ok(());
            }
            // The live table was not caught up: it leaves with what it has, and the old one comes back.
            (Step::Swapping, Live::New) => std::mem::swap(&mut state.ranges, &mut state.leaving),
            (Step::Swapped | Step::Undoing, _) => {}
            _ => bail!("{}", report::next(&state)),
        }
        self.exchange(&mut state, Live::Old, Step::Undoing)?;
        self.record(&mut state, Step::Undone)?;
        report::print_exchanged(self.display.json, &state);
        Ok(())
    }

    /// Drops the table that is not live.
    pub fn drop_other(&self, mut state: State) -> anyhow::Result<()> {
        if matches!(state.step, Step::Swapping | Step::Undoing) {
            bail!("{}", report::next(&state));
        }
        let names = self.wait(self.tables.names())?;
        let live = state.named_jobs(&names);
        // It is gone where a process dropped it and was killed before it removed the file.
        if state.step != Step::Dropping || names.jobs_rebuild.is_some() {
            state.live(&names)?;
            self.record(&mut state, Step::Dropping)?;
            if names.jobs_rebuild.is_some() {
                self.wait(self.tables.drop_shadow())?;
            }
        }
        hit(FailPoint::AfterDrop);
        self.file.remove()?;
        report::print_dropped(self.display.json, live);
        Ok(())
    }

    /// Makes `wanted` the live table. `step` is recorded before, and says which direction was begun.
    fn exchange(&self, state: &mut State, wanted: Live, step: Step) -> anyhow::Result<()> {
        self.check_members()?;
        self.record(state, step)?;
        if self.live(state)? != wanted {
            self.carry_counted(Table::Jobs, Table::JobsRebuild)?;
            self.read_to_the_end(state, Table::JobsRebuild, &note_hours)?;
            let committed = from_committed(&self.consumer, &state.ranges)?;
            state.leaving = earlier(&committed, &state.leaving);
            self.record(state, step)?;
            self.check_members()?;
            hit(FailPoint::BeforeExchange);
            let began = Instant::now();
            self.wait(self.tables.exchange())?;
            tracing::info!(seconds = began.elapsed().as_secs_f64(), "the tables are exchanged");
            hit(FailPoint::AfterExchange);
            if self.live(state)? != wanted {
                bail!(
                    "the tables were exchanged twice, by another process at the same time: run the same command again"
                );
            }
        }
        self.catch_up(state)?;
        // The table that left had what was committed before the EXCHANGE.
        state.ranges = std::mem::take(&mut state.leaving);
        Ok(())
    }

    /// Gives the live table what was written to the other one until it left.
    fn catch_up(&self, state: &mut State) -> anyhow::Result<()> {
        let mut is_told = false;
        self.wait(inserts::ended(self.client(), |left| {
            if !std::mem::replace(&mut is_told, true) {
                let inserts = count(left as u64, "insert", "inserts");
                telemetry::print_line(format_args!(
                    "waiting for {inserts} that had begun when the tables were exchanged"
                ));
            }
        }))?;
        hit(FailPoint::AfterInserts);
        self.read_to_the_end(state, Table::Jobs, &note_hours)?;
        self.carry_counted(Table::JobsRebuild, Table::Jobs)?;
        hit(FailPoint::AfterCatchUp);
        self.refresh(&state.differing_hours)?;
        hit(FailPoint::AfterRebuildRefresh);
        self.check_members().with_context(|| {
            format!(
                "the tables are exchanged, and a processor of another version has joined meanwhile: what it wrote to the live table is not \
                 that of version {FOLD_VERSION}"
            )
        })
    }

    fn refresh(&self, hours: &BTreeSet<i64>) -> anyhow::Result<()> {
        let refresher = Refresher {
            clickhouse: self.clickhouse.clone(),
            metrics: self.metrics.clone(),
            readiness: Readiness::waiting_for(&[]),
        };
        let bar = self.display.bar(hours.len() as u64, 0, "{bar:30} {pos} of {len} hours of the roll-up");
        let hours = hours.iter().copied().map(CreatedHour).collect();
        let refreshed = self.runtime.block_on(refresher.refresh(&hours, &self.stop, |hours| bar.inc(hours as u64)));
        bar.finish_and_clear();
        Ok(refreshed.map_err(|_| Stopped)?)
    }

    fn check_members(&self) -> anyhow::Result<()> {
        members::check(&self.consumer, &self.config)
    }

    /// Tells `to` which jobs the group has counted, as `from` knows it.
    pub fn carry_counted(&self, from: Table, to: Table) -> anyhow::Result<()> {
        for hours in self.wait(self.tables.ranges())? {
            let statement = counted::carry_statement(from, to, &hours);
            self.wait(async { Ok(self.clickhouse.execute(&statement).await?) })?;
        }
        Ok(())
    }
}

/// Keeps the created hours of a batch together with how far it was read: their roll-up may be older than the facts that it brought.
fn note_hours(state: &mut State, folded: &Folded<'_>) {
    state.differing_hours.extend(hours_of(folded));
}
