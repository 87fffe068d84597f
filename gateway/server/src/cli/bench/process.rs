//! What the kernel says about processes: their processor time and memory, and how busy the whole machine is, read from
//! `/proc`.

use std::time::{Duration, Instant};

use anyhow::Context as _;

use super::spread::ratio;

/// Processor time of the process and of its children that have ended and were waited for.
pub(super) fn processor_time(pid: u32) -> anyhow::Result<Duration> {
    let ticks = read(&format!("/proc/{pid}/stat"), parse_ticks)?;
    Ok(ticks_to_time(ticks, rustix::param::clock_ticks_per_second()))
}

/// Resident memory in bytes.
pub(super) fn resident_bytes(pid: u32) -> anyhow::Result<u64> {
    read(&format!("/proc/{pid}/status"), parse_resident)
}

/// Bytes that the process has had written to disks.
pub(super) fn written_bytes(pid: u32) -> anyhow::Result<u64> {
    read(&format!("/proc/{pid}/io"), parse_written)
}

fn read<T>(path: &str, parse: impl FnOnce(&str) -> Option<T>) -> anyhow::Result<T> {
    let text = std::fs::read_to_string(path).with_context(|| format!("{path} can't be read"))?;
    parse(&text).with_context(|| format!("{path} is not understood"))
}

fn parse_written(io: &str) -> Option<u64> {
    io.lines().find_map(|line| line.strip_prefix("write_bytes:"))?.trim().parse().ok()
}

/// Watches the machine from its making on, to tell how much of it others take. Ratios can't be trusted when that is much.
#[derive(Debug)]
pub(super) struct Watch {
    /// The processes of the rig.
    own: Vec<u32>,
    own_before: Duration,
    machine_before: Duration,
    started: Instant,
}

impl Watch {
    pub(super) fn start(own: Vec<u32>) -> anyhow::Result<Self> {
        let (machine_before, _) = machine_time()?;
        Ok(Self { own_before: sum_of_times(&own)?, own, machine_before, started: Instant::now() })
    }

    /// The part of all cores' time since the start that went to processes which are not of the rig.
    pub(super) fn others_share(&self) -> anyhow::Result<f64> {
        let own = sum_of_times(&self.own)?.saturating_sub(self.own_before);
        let (machine, cores) = machine_time()?;
        let others = machine.saturating_sub(self.machine_before).saturating_sub(own);
        // Cores are few.
        Ok(ratio(others.as_secs_f64(), self.started.elapsed().as_secs_f64() * cores as f64))
    }
}

fn sum_of_times(pids: &[u32]) -> anyhow::Result<Duration> {
    pids.iter().map(|pid| processor_time(*pid)).sum()
}

/// The time that all cores together were busy, and how many they are.
fn machine_time() -> anyhow::Result<(Duration, usize)> {
    let (ticks, cores) = read("/proc/stat", parse_machine)?;
    Ok((ticks_to_time(ticks, rustix::param::clock_ticks_per_second()), cores))
}

/// Everything but `idle` and `iowait`: what the host stole was not ours either. `guest` is part of `user` already.
fn parse_machine(stat: &str) -> Option<(u64, usize)> {
    let line = stat.lines().find_map(|line| line.strip_prefix("cpu "))?;
    let times: Vec<u64> =
        line.split_ascii_whitespace().take(8).map_while(|field| field.parse().ok()).collect();
    let [user, nice, system, _idle, _iowait, irq, softirq, steal] = times.try_into().ok()?;
    let is_core = |line: &&str| {
        line.strip_prefix("cpu").is_some_and(|rest| rest.starts_with(|c: char| c.is_ascii_digit()))
    };
    let cores = stat.lines().filter(is_core).count();
    (cores > 0).then_some((user + nice + system + irq + softirq + steal, cores))
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
    fn written_bytes_are_those_that_reach_a_disk() {
        let io = "rchar: 9\nwchar: 8\nread_bytes: 4096\nwrite_bytes: 323932160\ncancelled_write_bytes: 0\n";
        for (io, expected) in [(io, Some(323_932_160)), ("wchar: 8\n", None), ("write_bytes: x\n", None)] {
            assert_eq!(parse_written(io), expected, "{io}");
        }
    }

    #[test]
    fn a_machine_is_busy_when_it_is_neither_idle_nor_waiting() {
        let two = "cpu  10 1 20 5000 300 2 3 4 7 0\ncpu0 5 1 10 2500 150 1 2 2 7 0\ncpu1 5 0 10 2500 150 1 1 2 0 0\nintr 9 0\n";
        for (stat, expected) in [
            (two, Some((40, 2))),
            ("cpu  10 1 20 5000\ncpu0 10 1 20 5000\n", None),
            ("cpu  10 1 20 5000 300 2 3 4 7 0\nintr 9\n", None),
            ("intr 9\n", None),
        ] {
            assert_eq!(parse_machine(stat), expected, "{stat}");
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
        written_bytes(pid).unwrap();
        let share = Watch::start(vec![pid]).unwrap().others_share().unwrap();
        assert!(share >= 0.0, "{share}");
    }
}
