//! `ieum completions` and `ieum man`: what a package of ieum brings along for shells and `man`.

use std::fs;
use std::path::Path;

use clap::{Command, CommandFactory};
use clap_complete::Shell;
use clap_mangen::Man;
use clap_mangen::roff::{Roff, bold, roman};
use ieum_model::error::{Error, ErrorKind, Result};
use serde_json::json;

use super::DONE;
use crate::cli::{CODES, Cli};
use crate::place;
use crate::screen::{Screen, table};

/// Prints the completions of a shell.
///
/// # Errors
/// Only for a bug.
pub fn completions(shell: Shell, screen: &Screen) -> Result<u8> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "ieum", &mut script);
    let script = String::from_utf8(script).map_err(|error| Error::internal(error.to_string()))?;
    screen.result(&script, &json!({ "completions": script }));
    Ok(DONE)
}

/// Writes a page for `ieum` and one for each of its commands.
///
/// # Errors
/// When they cannot be written.
pub fn man(dir: &Path, screen: &Screen) -> Result<u8> {
    fs::create_dir_all(dir).map_err(|error| {
        Error::new(ErrorKind::Temporary, format!("the folder cannot be made: {error}")).at("path", dir.display())
    })?;
    let mut top = Cli::command().disable_help_subcommand(true);
    top.build();
    let pages = pages(&top, "ieum");
    for (name, page) in &pages {
        place::whole(&dir.join(name), page)?;
    }
    let told = dir.display().to_string();
    screen.result(
        &table(&[("pages", pages.len().to_string()), ("folder", told.clone())]),
        &json!({ "pages": pages.len(), "folder": told }),
    );
    Ok(DONE)
}

/// The page of a command and those of the commands below it, by file name.
fn pages(command: &Command, name: &str) -> Vec<(String, Vec<u8>)> {
    let below = command.get_subcommands().filter(|command| !command.is_hide_set());
    let below = below.flat_map(|command| pages(command, &format!("{name}-{}", command.get_name())));
    let mut all = vec![(format!("{name}.1"), page(command, name))];
    all.extend(below);
    all
}

/// A page in the order of man-pages(7): what it is, how it is called, options, examples, exit status.
fn page(command: &Command, name: &str) -> Vec<u8> {
    let examples = command.get_before_help().map(ToString::to_string).unwrap_or_default();
    let has_below = command.get_subcommands().any(|command| !command.is_hide_set());
    let man = Man::new(command.clone())
        .title(name.to_uppercase())
        .manual("ieum")
        .source(concat!("ieum ", env!("CARGO_PKG_VERSION")));
    let mut page = Vec::new();
    // Written to memory: none of these can fail.
    let _ = man.render_title(&mut page);
    let _ = man.render_name_section(&mut page);
    let _ = man.render_synopsis_section(&mut page);
    let _ = man.render_description_section(&mut page);
    let _ = man.render_options_section(&mut page);
    if has_below {
        let _ = man.render_subcommands_section(&mut page);
    }
    let _ = listed("EXAMPLES", examples.lines().skip(1)).to_writer(&mut page);
    let _ = listed("EXIT STATUS", CODES.lines().skip(1)).to_writer(&mut page);
    if name != "ieum" {
        let mut roff = Roff::new();
        roff.control("SH", ["SEE ALSO"]).text([bold("ieum"), roman("(1)")]);
        let _ = roff.to_writer(&mut page);
    }
    page
}

/// Lines as they stand, below a title; nothing of none.
fn listed<'a>(title: &str, lines: impl Iterator<Item = &'a str>) -> Roff {
    let mut roff = Roff::new();
    let lines: Vec<&str> = lines.filter(|line| !line.is_empty()).collect();
    if !lines.is_empty() {
        roff.control("SH", [title]).control("nf", []);
        for line in lines {
            roff.text([roman(line.trim())]);
        }
        roff.control("fi", []);
    }
    roff
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all() -> Vec<(String, String)> {
        let mut top = Cli::command().disable_help_subcommand(true);
        top.build();
        let text = |(name, page): (String, Vec<u8>)| (name, String::from_utf8(page).expect("pages are UTF-8"));
        pages(&top, "ieum").into_iter().map(text).collect()
    }

    /// Every command that is not hidden, as its page is called.
    fn names(command: &Command, name: &str) -> Vec<String> {
        let below = command.get_subcommands().filter(|command| !command.is_hide_set() && command.get_name() != "help");
        let below = below.flat_map(|command| names(command, &format!("{name}-{}", command.get_name())));
        [format!("{name}.1")].into_iter().chain(below).collect()
    }

    #[test]
    fn every_command_has_its_page() {
        let pages = all();
        let found: Vec<&String> = pages.iter().map(|(name, _)| name).collect();
        assert_eq!(found, names(&Cli::command(), "ieum").iter().collect::<Vec<_>>());
        assert!(found.iter().any(|name| *name == "ieum-catalog-check.1"), "{found:?}");
        for (name, page) in &pages {
            for section in [".SH NAME", ".SH SYNOPSIS", ".SH OPTIONS", "\"EXIT STATUS\"", "20 integrity failure"] {
                assert!(page.contains(section), "{section} is missing in {name}: {page}");
            }
            assert!(!page.contains("bench-part") && !page.contains("bench\\-part"), "{name}");
        }
        let run = &pages.iter().find(|(name, _)| name == "ieum-run.1").expect("a page").1;
        assert!(run.contains("EXAMPLES") && run.contains("sample\\-data/nightly.toml"), "{run}");
    }

    #[test]
    fn a_page_renders_without_a_warning() {
        for (name, page) in all() {
            let folder = tempfile::tempdir().expect("a folder");
            let path = folder.path().join(&name);
            fs::write(&path, page).expect("written");
            // Where there is no groff, there is nothing to render with.
            let Ok(rendered) =
                std::process::Command::new("groff").args(["-Kutf8", "-man", "-Tutf8", "-ww", "-z"]).arg(&path).output()
            else {
                return;
            };
            assert!(
                rendered.status.success() && rendered.stderr.is_empty(),
                "{name}: {}",
                String::from_utf8_lossy(&rendered.stderr)
            );
        }
    }

    #[test]
    fn completions_know_the_commands() {
        for shell in [Shell::Bash, Shell::Zsh, Shell::Fish] {
            let mut script = Vec::new();
            clap_complete::generate(shell, &mut Cli::command(), "ieum", &mut script);
            let script = String::from_utf8_lossy(&script);
            for word in ["report", "metrics-file", "verify"] {
                assert!(script.contains(word), "{word} is missing for {shell}");
            }
        }
    }
}
