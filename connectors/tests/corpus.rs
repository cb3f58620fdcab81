//! Every input that the fuzzers keep, through the bodies of their targets: what they found stays found without them.

#![allow(clippy::print_stderr)]

#[path = "../fuzz/src/lib.rs"]
mod bodies;

use std::path::Path;

/// Runs the corpus of one target, all of it.
fn holds(target: &str) {
    let (_, body) = bodies::TARGETS.iter().find(|(name, _)| *name == target).expect("a target of this name");
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus").join(target);
    let mut inputs: Vec<_> =
        std::fs::read_dir(&folder).expect("a folder of inputs").map(|entry| entry.expect("an input").path()).collect();
    inputs.sort();
    assert!(!inputs.is_empty(), "no input in {}", folder.display());
    for input in inputs {
        let bytes = std::fs::read(&input).expect("an input can be read");
        // The bodies of some targets silence the hook that would tell what a panic says.
        if let Err(said) = std::panic::catch_unwind(|| body(&bytes)) {
            let text = said.downcast_ref::<String>().map(String::as_str).or(said.downcast_ref::<&str>().copied());
            panic!("{target} does not hold for {}: {}", input.display(), text.unwrap_or_default());
        }
    }
}

/// A test for each target, and one that none was forgotten.
macro_rules! targets {
    ($($name:ident)*) => {
        $(#[test]
        fn $name() {
            holds(stringify!($name));
        })*

        #[test]
        fn every_target_is_here() {
            let names: Vec<&str> = bodies::TARGETS.iter().map(|(name, _)| *name).collect();
            assert_eq!(names, [$(stringify!($name)),*]);
        }
    };
}

targets!(arrow compressed copybook csv discover fixed_width json json_lines parquet records tar workbook xml zip);
