//! The binary `ieum`.

use std::process::ExitCode;

use clap::Parser;
use ieum::{cli::Cli, commands, screen::Screen};

fn main() -> ExitCode {
    let cli = Cli::parse();
    let screen = Screen::new(cli.command.output(), &cli.verbosity);
    screen.start_log(cli.log_format);
    match commands::dispatch(cli.command, &screen) {
        Ok(code) => ExitCode::from(code),
        Err(error) => ExitCode::from(screen.failure(&error)),
    }
}
