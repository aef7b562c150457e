//! Waits for the inserts that had begun when the tables were exchanged. They know their table already, so what they bring lands in the
//! one that is not live any more.

use std::collections::HashSet;
use std::time::Duration;

use clickhouse::Client;

/// How soon it is asked again whether they have ended.
const ASK_EVERY: Duration = Duration::from_millis(100);

/// Waits until every insert into the database that is in progress at the call has ended. Calls `waiting` with how many are left.
pub async fn ended(client: &Client, mut waiting: impl FnMut(usize)) -> anyhow::Result<()> {
    let mut left = in_progress(client).await?;
    while !left.is_empty() {
        waiting(left.len());
        tokio::time::sleep(ASK_EVERY).await;
        let now = in_progress(client).await?;
        left.retain(|insert| now.contains(insert));
    }
    Ok(())
}

async fn in_progress(client: &Client) -> anyhow::Result<HashSet<String>> {
    let query =
        "SELECT query_id FROM system.processes WHERE query_kind = 'Insert' AND current_database = currentDatabase()";
    Ok(client.query(query).fetch_all::<String>().await?.into_iter().collect())
}
