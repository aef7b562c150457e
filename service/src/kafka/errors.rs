//! Errors that librdkafka reports beside the results of calls, counted by client and by what is the trouble.

use std::sync::LazyLock;

use prometheus::{IntCounterVec, Opts, Registry};

use super::context::Trouble;

static ERRORS: LazyLock<IntCounterVec> = LazyLock::new(|| {
    let options = Opts::new(
        "hookline_kafka_errors_total",
        "Errors that librdkafka reported of its connections and of itself, by client and kind",
    );
    #[expect(clippy::expect_used, reason = "names and labels are constants and valid")]
    IntCounterVec::new(options, &["client", "kind"]).expect("valid names")
});

/// Shows the errors of these clients, from 0 on: a client counts from the moment that it is made, and some are made late.
pub fn register(registry: &Registry, clients: &[&str]) -> prometheus::Result<()> {
    for client in clients {
        for trouble in Trouble::ALL {
            ERRORS.with_label_values(&[client, trouble.as_str()]);
        }
    }
    registry.register(Box::new(ERRORS.clone()))
}

pub(super) fn count(client: &str, trouble: Trouble) {
    ERRORS.with_label_values(&[client, trouble.as_str()]).inc();
}
