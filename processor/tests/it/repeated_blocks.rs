//! A block that is sent again is inserted again, also into a table that remembers the blocks it took.

use crate::processor_under_test::{DELIVERIES, ProcessorUnderTest, now};

const TABLES: [&str; 6] = ["jobs", "deliveries", "dead_letters", "job_stats", "expired_offsets", "redrives"];

#[tokio::test]
async fn what_is_deleted_again_is_repaired_again() {
    let under_test = ProcessorUnderTest::new("repeated", 1).await;
    let remembered = "SELECT count() FROM system.tables WHERE database = currentDatabase() \
                      AND create_table_query LIKE '%non_replicated_deduplication_window = 0%'";
    assert_eq!(under_test.query_number(remembered).await, TABLES.len() as u64, "tables as they are made remember none");
    for table in TABLES {
        under_test
            .execute(&format!("ALTER TABLE {table} MODIFY SETTING non_replicated_deduplication_window = 100"))
            .await;
    }
    let mut daemon = under_test.daemon(&[]);
    daemon.wait_ready().await;
    under_test.produce_jobs(0..50, now() - 600);
    under_test.wait_until(DELIVERIES, 100).await;
    under_test.wait_until_no_lag(&mut daemon).await;
    assert!(daemon.terminate().await.success());
    let folder = tempfile::tempdir().unwrap();
    let state = folder.path().join("state.json");
    for _ in 0..3 {
        for table in TABLES {
            under_test.execute(&format!("DELETE FROM {table} WHERE 1 SETTINGS lightweight_deletes_sync = 2")).await;
        }
        assert_eq!(under_test.query_number(DELIVERIES).await, 0);
        let replayed = under_test.run(&["replay", "--json", "--state", state.to_str().unwrap()]).await;
        assert!(replayed.status.success(), "{}", String::from_utf8_lossy(&replayed.stderr));
        assert_eq!(under_test.query_number(DELIVERIES).await, 100);
        assert_eq!(under_test.query_number("SELECT count() FROM job_facts").await, 50);
        assert_eq!(under_test.query_number("SELECT sum(completed + errored) FROM job_stats_by_minute").await, 50);
    }

    // The table does remember: the same block, by a client that does not say otherwise, is left out.
    let insert = "INSERT INTO dead_letters (log_id, topic, offset) VALUES ('l', 't', 1)";
    for _ in 0..2 {
        under_test.execute(insert).await;
    }
    assert_eq!(under_test.query_number("SELECT count() FROM dead_letters").await, 1);
}
