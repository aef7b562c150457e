//! The options that every daemon has, and how it ends.

use std::path::PathBuf;
use std::process::ExitCode;

use crate::config::ConfigError;

/// The exit code for an unsound configuration: `EX_CONFIG` of sysexits.h.
pub const EXIT_CONFIG: u8 = 78;

/// Options that every daemon has.
#[derive(Clone, Debug, clap::Args)]
pub struct ConfigArgs {
    /// The TOML file to read; every key in it can be overridden from the environment
    #[arg(long, value_name = "FILE", global = true)]
    pub config: Option<PathBuf>,
    /// Check the configuration, say what is wrong with it, and exit (78 if something is)
    #[arg(long)]
    pub check_config: bool,
}

/// Prints what went wrong, with its causes, and chooses the exit code.
pub fn finish(result: anyhow::Result<()>) -> ExitCode {
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::from(if error.is::<ConfigError>() { EXIT_CONFIG } else { 1 })
        }
    }
}
