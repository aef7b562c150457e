//! SIGHUP: reads the configuration file and the secrets again. Sources and their keys take effect at once, added, changed or
//! removed; whatever else has changed is named, since it needs a restart.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use hookline_service::cli::ConfigArgs;
use hookline_service::config::{ConfigError, changed_keys};
use hookline_sources::Sources;
use tokio::signal::unix::{SignalKind, signal};
use tokio::task::{JoinHandle, spawn_blocking};
use tokio::time::timeout;

use crate::config::IngestConfig;
use crate::daemon::read_sources;
use crate::metrics::Metrics;
use crate::webhook::Webhooks;

/// The time that the files have to be read: a pipe without a writer or a file server that is away never end.
const READ_TIMEOUT: Duration = Duration::from_secs(10);

/// Listens to SIGHUP from now on; the future that it returns never ends.
pub fn on_hangup(
    source: ConfigArgs,
    running: IngestConfig,
    webhooks: Arc<Webhooks>,
    metrics: Metrics,
) -> io::Result<impl Future<Output = ()>> {
    let mut hangup = signal(SignalKind::hangup())?;
    Ok(async move {
        let mut reading: Option<JoinHandle<Result<Reloaded, ConfigError>>> = None;
        while hangup.recv().await.is_some() {
            let result = match reading.take().filter(|reading| !reading.is_finished()) {
                Some(stuck) => {
                    reading = Some(stuck);
                    Err("the files of an earlier SIGHUP are still being read".to_owned())
                }
                None => {
                    let (source, running) = (source.clone(), running.clone());
                    // A file that cannot be read takes a thread of its own, never one that answers webhooks.
                    let mut read = spawn_blocking(move || Reloaded::read(&source, &running));
                    match timeout(READ_TIMEOUT, &mut read).await {
                        Ok(Ok(result)) => result.map_err(|error| error.to_string()),
                        Ok(Err(panic)) => Err(panic.to_string()),
                        Err(_) => {
                            reading = Some(read);
                            Err(format!("the files could not be read within {READ_TIMEOUT:?}"))
                        }
                    }
                }
            };
            metrics.reloaded(result.is_ok());
            match result {
                Ok(reloaded) => reloaded.use_in(&webhooks),
                Err(error) => tracing::error!(
                    "SIGHUP: the sources and their secrets were not reloaded, the previous ones stay in use: {error}"
                ),
            }
        }
    })
}

struct Reloaded {
    sources: Sources,
    /// How many secrets come from variables, which a process cannot read anew.
    from_environment: usize,
    needs_restart: Vec<String>,
}

impl Reloaded {
    fn read(source: &ConfigArgs, running: &IngestConfig) -> Result<Self, ConfigError> {
        let config: IngestConfig = source.read_again()?;
        let sources = read_sources(&config)?;
        let keys = config.sources.values().flat_map(|source| source.keys.values());
        let from_environment = match config.sources.is_empty() {
            true => sources.key_count(),
            false => keys.filter(|key| key.env.is_some()).count(),
        };
        let mut needs_restart = changed_keys(running, &config)?;
        needs_restart.retain(|key| !key.starts_with("sources."));
        Ok(Self { sources, from_environment, needs_restart })
    }

    fn use_in(self, webhooks: &Webhooks) {
        webhooks.use_secrets(&self.sources);
        let (sources, keys) = (self.sources.iter().count(), self.sources.key_count());
        tracing::info!(
            sources,
            keys,
            from_environment = self.from_environment,
            "SIGHUP: {sources} sources, {keys} keys read again; the secrets of {} keys come from variables of the environment, \
             which stay as they are until a restart",
            self.from_environment
        );
        if !self.needs_restart.is_empty() {
            tracing::warn!("SIGHUP: changed, but not in use before a restart: {}", self.needs_restart.join(", "));
        }
    }
}
