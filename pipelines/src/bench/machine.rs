//! The machine that is measured, in words.

use std::fs;

use super::record::Machine;

/// This machine, as far as the system tells.
pub fn here() -> Machine {
    let told = |path: &str| fs::read_to_string(path).unwrap_or_default();
    let release = told("/etc/os-release");
    let name = value(&release, "PRETTY_NAME", '=').unwrap_or(std::env::consts::OS);
    let kernel = told("/proc/sys/kernel/osrelease");
    Machine {
        processor: value(&told("/proc/cpuinfo"), "model name", ':').unwrap_or(std::env::consts::ARCH).to_owned(),
        processors: std::thread::available_parallelism().map_or(1, usize::from),
        memory_bytes: value(&told("/proc/meminfo"), "MemTotal", ':').and_then(kibibytes).unwrap_or(0),
        system: format!("{name}, kernel {}", kernel.trim()),
    }
}

/// The first value of a name in a text of lines.
fn value<'a>(text: &'a str, name: &str, separator: char) -> Option<&'a str> {
    let pairs = text.lines().filter_map(|line| line.split_once(separator));
    let mut found = pairs.filter(|(of, _)| of.trim() == name).map(|(_, value)| value.trim().trim_matches('"'));
    found.next()
}

fn kibibytes(text: &str) -> Option<u64> {
    text.strip_suffix("kB")?.trim().parse::<u64>().ok()?.checked_mul(1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_stand_behind_their_names() {
        let text =
            "processor\t: 0\nmodel name\t: A processor\nmodel name\t: Another\nMemTotal:   2 kB\nNAME=\"A system\"\n";
        assert_eq!(value(text, "model name", ':'), Some("A processor"));
        assert_eq!(value(text, "MemTotal", ':').and_then(kibibytes), Some(2048));
        assert_eq!(value(text, "NAME", '='), Some("A system"));
        assert_eq!(value(text, "none", ':'), None);
        assert!(here().processors > 0);
    }
}
