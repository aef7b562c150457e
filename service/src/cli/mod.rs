//! The command line that every binary has: the options of its configuration, the commands `completions` and `man`, and
//! exit codes.

mod output;
mod printable;
mod time_point;

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::error::ErrorKind;
use clap::{Command, FromArgMatches as _, Parser, Subcommand};
use clap_complete::Shell;
use clap_mangen::Man;

pub use self::output::{Screen, is_closed, print, print_line, redraw};
pub(crate) use self::printable::Printable;
pub use self::printable::printable;
pub use self::time_point::TimePoint;
use crate::config::{ConfigError, Loaded, Settings, Variables};
use crate::telemetry::{self, LOG_VARIABLE};

/// The exit code for a configuration that cannot be used: `EX_CONFIG` of sysexits.h.
pub const EXIT_CONFIG: u8 = 78;

/// The exit code for a command line that cannot be used, as clap has it.
const EXIT_USAGE: u8 = 2;

/// Options that are right each by itself and cannot be used together, or here.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct UsageError(pub String);

const CONFIGURATION: &str = "Configuration";

/// The options of the configuration.
#[derive(Clone, Debug, clap::Args)]
pub struct ConfigArgs {
    /// The TOML file to read; every key in it can be overridden from the environment
    #[arg(long, value_name = "FILE", global = true, help_heading = CONFIGURATION)]
    config: Option<PathBuf>,
    /// Check the configuration, say what is wrong with it, and exit
    #[arg(long, global = true, help_heading = CONFIGURATION)]
    check_config: bool,
    /// Print every key with its meaning, its value and where that comes from, secrets masked, and exit
    #[arg(long, global = true, help_heading = CONFIGURATION)]
    print_config: bool,
}

impl ConfigArgs {
    /// Reads and checks the configuration. None: only that was asked for, and the answer is printed.
    pub fn load<T: Settings>(&self) -> Result<Option<T>, ConfigError> {
        let environment = environment();
        let loaded = Loaded::<T>::read(self.config.as_deref(), &environment)?;
        if self.print_config {
            // Before the check: what is printed helps to find what is wrong.
            print(loaded.to_toml());
        }
        let settings = loaded.checked()?;
        if self.check_config && !self.print_config {
            print_line("the configuration is valid");
        }
        Ok((!self.check_config && !self.print_config).then_some(settings))
    }

    /// Reads and checks the configuration once more, for a daemon that runs. Blocks for as long as the files take.
    pub fn read_again<T: Settings>(&self) -> Result<T, ConfigError> {
        Loaded::read(self.config.as_deref(), &environment())?.checked()
    }
}

fn environment() -> Variables {
    std::env::vars_os().filter_map(|(name, value)| name.into_string().ok().zip(value.into_string().ok())).collect()
}

// Not a doc comment: clap would show it as what the program is.
#[derive(Debug, Subcommand)]
enum CommonCommand {
    /// Print a script that completes this program's options in a shell
    Completions {
        /// The shell to print it for
        shell: Shell,
    },
    /// Print the manual page, in roff: `man -l <(… man)`
    Man {
        /// The command to print the page of, instead of the program's
        command: Option<String>,
    },
}

/// Reads the command line, and answers `completions` and `man`. `examples` and what exit code 1 means end the help.
pub fn parse<C: Parser, T: Settings>(examples: &[&str], failure: &str) -> C {
    let mut command = CommonCommand::augment_subcommands(C::command().after_help(format!(
        "Examples:\n  {}\n\n\
         Environment:\n  {LOG_VARIABLE:<36}what is logged: debug, or info,rdkafka=warn [default: info]\n  \
         {:<36}a key of the configuration, see --print-config\n\n\
         Exit codes:\n  0   it is done\n  1   {failure}\n  {EXIT_USAGE}   the command line is wrong\n  \
         {EXIT_CONFIG}  the configuration is wrong",
        examples.join("\n  "),
        T::variable("section.key")
    )));
    let matches = command.get_matches_mut();
    let parsed = match CommonCommand::from_arg_matches(&matches) {
        Ok(common) => common.answer(&mut command).map(|()| std::process::exit(i32::from(exit_code(Ok(()))))),
        Err(_) => C::from_arg_matches(&matches).map_err(|error| error.format(&mut command)),
    };
    parsed.unwrap_or_else(|error| error.exit())
}

impl CommonCommand {
    fn answer(self, program: &mut Command) -> clap::error::Result<()> {
        let mut text = Vec::new();
        match self {
            Self::Completions { shell } => {
                let name = program.get_name().to_owned();
                clap_complete::generate(shell, program, name, &mut text);
            }
            Self::Man { command: None } => Man::new(program.clone()).render(&mut text)?,
            Self::Man { command: Some(name) } => {
                program.build();
                let command = program.find_subcommand(&name).cloned();
                let command = command.ok_or_else(|| {
                    program.error(ErrorKind::InvalidValue, format_args!("there is no command {name:?}"))
                })?;
                Man::new(command).render(&mut text)?;
            }
        }
        print(String::from_utf8_lossy(&text));
        Ok(())
    }
}

/// Reads a span of time such as `90s`, `15m`, `1h 30m` or `7d`.
pub fn duration(text: &str) -> Result<Duration, String> {
    let expected = |_| "expected a number and a unit, such as 90s, 15m, 1h or 7d".to_owned();
    humantime::parse_duration(text).map_err(expected)
}

/// Prints the error with its causes, and chooses the exit code. The last call of a program.
pub fn finish(result: anyhow::Result<()>) -> ExitCode {
    ExitCode::from(exit_code(result))
}

fn exit_code(result: anyhow::Result<()>) -> u8 {
    let code = match result.and_then(|()| output::flush()) {
        Ok(()) => 0,
        Err(error) => {
            telemetry::print_line(format_args!("error: {error:#}"));
            match (error.is::<ConfigError>(), error.is::<UsageError>()) {
                (true, _) => EXIT_CONFIG,
                (_, true) => EXIT_USAGE,
                (false, false) => 1,
            }
        }
    };
    telemetry::flush();
    code
}
