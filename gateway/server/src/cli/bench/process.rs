//! What the kernel says about a process: its processor time and its memory, read from `/proc`.

use std::time::Duration;

use anyhow::Context as _;

/// Processor time of the process and of its children that have ended and were waited for.
pub(super) fn processor_time(pid: u32) -> anyhow::Result<Duration> {
    let path = format!("/proc/{pid}/stat");
    let stat = std::fs::read_to_string(&path).with_context(|| format!("{path} can't be read"))?;
    let ticks = parse_ticks(&stat).with_context(|| format!("{path} is not understood"))?;
    Ok(ticks_to_time(ticks, rustix::param::clock_ticks_per_second()))
}

/// Resident memory in bytes.
pub(super) fn resident_bytes(pid: u32) -> anyhow::Result<u64> {
    let path = format!("/proc/{pid}/status");
    let status = std::fs::read_to_string(&path).with_context(|| format!("{path} can't be read"))?;
    parse_resident(&status).with_context(|| format!("{path} is not understood"))
}

/// The sum of `utime`, `stime`, `cutime` and `cstime`. The name of the program, in brackets, may hold blanks and
/// brackets itself, so that fields are counted from the last closing one.
fn parse_ticks(stat: &str) -> Option<u64> {
    let (_, fields) = stat.rsplit_once(')')?;
    // The state is the first of these fields, and field 3 in proc(5); utime is field 14 there.
    let times: Vec<u64> =
        fields.split_ascii_whitespace().skip(11).take(4).map_while(|f| f.parse().ok()).collect();
    (times.len() == 4).then(|| times.iter().sum())
}

fn parse_resident(status: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kibibytes: u64 = line.trim().strip_suffix("kB")?.trim_end().parse().ok()?;
    kibibytes.checked_mul(1024)
}

fn ticks_to_time(ticks: u64, per_second: u64) -> Duration {
    let per_second = per_second.max(1);
    Duration::from_secs(ticks / per_second)
        + Duration::from_nanos(ticks % per_second * 1_000_000_000 / per_second)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_are_those_of_the_process_and_its_reaped_children() {
        let rest = "R 11248 11248 10351 0 -1 4194304 101 0 0 0 250 30 7 2 20 0 1 0 137656 3133440";
        for (stat, expected) in [
            (format!("11259 (hookweir) {rest}"), Some(289)),
            (format!("11259 (a ) b (c) {rest}"), Some(289)),
            ("11259 (hookweir) R 1 2".to_owned(), None),
            ("11259 hookweir R 1 2".to_owned(), None),
            (String::new(), None),
        ] {
            assert_eq!(parse_ticks(&stat), expected, "{stat}");
        }
    }

    #[test]
    fn resident_memory_is_in_bytes() {
        for (status, expected) in [
            (
                "Name:\thookweir\nVmHWM:\t    9000 kB\nVmRSS:\t    5120 kB\nThreads:\t3\n",
                Some(5 * 1024 * 1024),
            ),
            ("VmRSS:\t5120 pages\n", None),
            ("Name:\tkthreadd\n", None),
        ] {
            assert_eq!(parse_resident(status), expected, "{status}");
        }
    }

    #[test]
    fn ticks_become_time() {
        for (ticks, per_second, expected) in [(0, 100, 0), (289, 100, 2890), (3, 1000, 3), (5, 0, 5000)] {
            assert_eq!(ticks_to_time(ticks, per_second), Duration::from_millis(expected));
        }
    }

    #[test]
    fn this_process_can_be_read() {
        let pid = std::process::id();
        assert!(resident_bytes(pid).unwrap() > 0);
        processor_time(pid).unwrap();
    }
}
