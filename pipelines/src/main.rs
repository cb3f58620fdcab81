//! The binary `ieum`.

use std::process::ExitCode;

use clap::Parser;
use ieum::cli::{self, Cli};
use ieum::screen::{self, Screen};
use ieum::{commands, panics, signals};

fn main() -> ExitCode {
    signals::file_size_limit_is_an_error();
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(usage) => return ExitCode::from(screen::usage(&usage, cli::output_of(std::env::args_os()))),
    };
    let screen = Screen::new(cli.command.output(), cli.log_format, &cli.verbosity);
    screen.start_log();
    match panics::caught(|| commands::dispatch(cli.command, &screen)) {
        Ok(code) => ExitCode::from(code),
        Err(error) => ExitCode::from(screen.failure(&error)),
    }
}
