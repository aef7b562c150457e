//! `top`: the pipeline and its jobs on one screen, for whoever has only a terminal. It asks the questions of the API.

mod arguments;
mod asking;
mod overview;
mod screen;
mod text;

use std::fmt::Write as _;

use hookline_service::cli::{Screen, UsageError, print, print_line};
use time::OffsetDateTime;

pub use self::arguments::TopArgs;
pub use self::asking::Asking;
pub use self::overview::Overview;
use crate::config::AnalyticsConfig;
use crate::report::columns_of_output;

/// Shows the overview until a key or a signal ends it, or prints it once.
pub async fn run(config: &AnalyticsConfig, arguments: &TopArgs) -> anyhow::Result<()> {
    arguments.range(OffsetDateTime::now_utc())?;
    let asking = Asking::new(config, arguments)?;
    if arguments.once {
        return once(asking, arguments).await;
    }
    if Screen::now().is_none() {
        let message = "top draws on a terminal, and standard output is none: `top --once` prints the same once, `top --once --json` \
                       for programs";
        return Err(UsageError(message.to_owned()).into());
    }
    screen::show(asking, arguments).await
}

async fn once(mut asking: Asking, arguments: &TopArgs) -> anyhow::Result<()> {
    if !asking.begin().await {
        tokio::time::sleep(arguments.interval).await;
    }
    let overview = asking.ask().await;
    if arguments.json {
        print_line(serde_json::to_string_pretty(&overview)?);
    } else {
        print(plain(&overview, columns_of_output()));
    }
    let failures = overview.failures();
    anyhow::ensure!(failures.is_empty(), "{}", failures.join("; "));
    Ok(())
}

/// The overview without anything that only a terminal understands.
pub fn plain(overview: &Overview, columns: Option<usize>) -> String {
    let mut out = String::new();
    for line in text::lines(overview, None, columns) {
        // Writing into a String cannot fail.
        let _ = writeln!(out, "{}", line.text);
    }
    out
}
