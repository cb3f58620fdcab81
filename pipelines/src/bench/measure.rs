//! One process from start to end: wall and CPU time and peak memory as the operating system counts them.

use std::fs::File;
use std::io;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Command, ExitStatus, Stdio};
use std::time::Instant;

use ieum_model::error::{Error, ErrorKind, Result};
use serde::{Deserialize, Serialize};

/// What one process cost.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Cost {
    /// From start to end.
    pub wall_seconds: f64,
    /// Of all its threads, user and system.
    pub cpu_seconds: f64,
    /// Largest resident size.
    pub peak_bytes: u64,
}

/// Runs `command` with its words in `log` (`.out` and `.err`) and gives its cost and how it ended.
///
/// What an earlier process wrote is brought to the disk first, so that this one does not pay for it.
///
/// # Errors
/// When the command cannot be started.
pub fn measured(command: &mut Command, log: &Path) -> Result<(Cost, ExitStatus)> {
    let program = command.get_program().to_owned();
    let cannot = |error: io::Error| {
        Error::new(ErrorKind::Temporary, format!("a measured process failed: {error}"))
            .at("program", program.display())
            .at("log", log.display())
    };
    // Without `sync` the next time is a little worse, not wrong.
    let _ = Command::new("sync").status();
    command.stdin(Stdio::null());
    command.stdout(File::create(log.with_extension("out")).map_err(cannot)?);
    command.stderr(File::create(log.with_extension("err")).map_err(cannot)?);
    #[allow(clippy::disallowed_methods, reason = "a measurement reads the clock")]
    let started = Instant::now();
    let child = command.spawn().map_err(cannot)?;
    let (status, usage) = wait(child.id()).map_err(cannot)?;
    let wall_seconds = micro(started.elapsed().as_secs_f64());
    let seconds = |time: libc::timeval| time.tv_sec as f64 + time.tv_usec as f64 / 1e6;
    let cpu_seconds = micro(seconds(usage.ru_utime) + seconds(usage.ru_stime));
    // Linux counts in KiB.
    let peak_bytes = usage.ru_maxrss.unsigned_abs() * 1024;
    Ok((Cost { wall_seconds, cpu_seconds, peak_bytes }, status))
}

/// Waits for a child, and gives its own resource usage: `getrusage` would add up all children.
#[allow(unsafe_code)]
fn wait(pid: u32) -> io::Result<(ExitStatus, libc::rusage)> {
    let mut status = 0;
    // SAFETY: all bytes zero are a valid `rusage`: it holds numbers only.
    let mut usage: libc::rusage = unsafe { std::mem::zeroed() };
    loop {
        // SAFETY: both pointers are to locals that live through the call.
        let waited = unsafe { libc::wait4(pid.cast_signed(), &raw mut status, 0, &raw mut usage) };
        if waited > 0 {
            return Ok((ExitStatus::from_raw(status), usage));
        }
        let error = io::Error::last_os_error();
        if error.kind() != io::ErrorKind::Interrupted {
            return Err(error);
        }
    }
}

/// The number to six decimals. What has so few digits is read back from JSON as it was written.
pub fn micro(number: f64) -> f64 {
    (number * 1e6).round() / 1e6
}

/// Slope of the line through the points of least squares, in the logarithms of both: `y` grows with this power of `x`.
/// `None` of fewer than two different `x`, or where one is not positive.
pub fn growth_exponent(points: &[(f64, f64)]) -> Option<f64> {
    if points.iter().any(|(x, y)| *x <= 0.0 || *y <= 0.0) {
        return None;
    }
    let logs: Vec<(f64, f64)> = points.iter().map(|(x, y)| (x.ln(), y.ln())).collect();
    let mean = |of: fn(&(f64, f64)) -> f64| logs.iter().map(of).sum::<f64>() / logs.len() as f64;
    let (x_mean, y_mean) = (mean(|p| p.0), mean(|p| p.1));
    let spread: f64 = logs.iter().map(|(x, _)| (x - x_mean).powi(2)).sum();
    let shared: f64 = logs.iter().map(|(x, y)| (x - x_mean) * (y - y_mean)).sum();
    (spread > 0.0).then(|| shared / spread)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_measurement_is_read_back_as_it_was_written() {
        for number in (1..5000).map(|nth| micro(f64::from(nth) * 0.012_345_678_9)) {
            let text = serde_json::to_string(&number).unwrap();
            assert_eq!(serde_json::from_str::<f64>(&text).unwrap(), number, "{text}");
        }
    }

    #[test]
    fn a_power_has_its_exponent() {
        let square: Vec<(f64, f64)> = [1.0, 2.0, 5.0, 40.0].iter().map(|x: &f64| (*x, 3.0 * x * x)).collect();
        assert!((growth_exponent(&square).unwrap() - 2.0).abs() < 1e-12);
        assert_eq!(growth_exponent(&[(1.0, 1.0)]), None);
        assert_eq!(growth_exponent(&[(0.0, 1.0), (1.0, 1.0)]), None);
    }

    #[test]
    fn a_process_costs_what_the_system_says() {
        let folder = tempfile::tempdir().unwrap();
        let log = folder.path().join("log");
        let (cost, status) = measured(Command::new("sh").args(["-c", "echo told; exit 3"]), &log).unwrap();
        assert_eq!(status.code(), Some(3));
        assert!(cost.wall_seconds > 0.0 && cost.peak_bytes > 100_000, "{cost:?}");
        assert_eq!(std::fs::read_to_string(log.with_extension("out")).unwrap(), "told\n");
        assert!(measured(&mut Command::new("/no/such/program"), &log).is_err());
    }
}
