//! Keeps the roll-up of the hours that a replay writes to fresh: while it reads, and on every way out.

use std::time::Duration;

use hookline_service::shutdown::CancellationToken;
use indicatif::ProgressBar;

use super::read::Shared;
use crate::retry::Cancelled;
use crate::writer::rollup::Refresher;

pub struct RollUp<'s> {
    pub refresher: Refresher,
    pub shared: &'s Shared,
    /// A replay that is killed and whose state is lost leaves no more stale than it wrote in this time.
    pub every: Duration,
}

impl RollUp<'_> {
    /// Refreshes again and again until `done`.
    pub async fn refresh_as_it_goes(&self, done: &CancellationToken) {
        while tokio::time::timeout(self.every, done.cancelled()).await.is_err() {
            // Cancelled means that the refresh at the end has these hours, too.
            let Ok(()) = self.refresh(&ProgressBar::hidden(), done).await else { return };
        }
    }

    /// Refreshes the hours that are stale now.
    pub async fn refresh(&self, bar: &ProgressBar, cancel: &CancellationToken) -> Result<(), Cancelled> {
        let hours = self.shared.progress().begin_refresh();
        if hours.is_empty() {
            return Ok(());
        }
        bar.set_length(hours.len() as u64);
        self.refresher.refresh(&hours, cancel, |hours| bar.inc(hours as u64)).await?;
        let mut progress = self.shared.progress();
        progress.end_refresh();
        // Without the file no hour is taken for fresh that is not.
        if let Err(error) = self.shared.state.save(&*progress) {
            tracing::warn!(%error, "the progress of the replay was not saved after a refresh of the roll-up");
        }
        Ok(())
    }

    /// Refreshes on a way out that is not the end of the plan, and gives up after `limit`. Returns how many hours are stale.
    pub async fn leave(&self, limit: Duration) -> usize {
        // What cuts it off is the limit, and a second signal.
        let (bar, never) = (ProgressBar::hidden(), CancellationToken::new());
        let _ = tokio::time::timeout(limit, self.refresh(&bar, &never)).await;
        self.shared.progress().stale_hours()
    }
}
