//! How much memory this process may have, as far as the system says, and what parts of it are for what.
//!
//! A machine at the edge, or a container, has less than the usual bounds on what waits in memory add up to. There they
//! are smaller: what has no room waits on disk, and senders are told to come again.

use std::path::{Path, PathBuf};

/// What may wait for the journal, on a machine that has plenty.
const USUAL: u64 = 64 << 20;
/// What deliveries may hold there.
const USUAL_DELIVERIES: u64 = 256 << 20;
/// On a smaller one, this part of what there is.
const PART: u64 = 8;

/// How many bytes of events may wait for the journal.
pub(crate) fn waiting() -> usize {
    let all = limit().map_or(USUAL, |limit| (limit / PART).min(USUAL));
    usize::try_from(all).unwrap_or(usize::MAX)
}

/// How many bytes deliveries may hold, over all endpoints: what is configured, but no more than half of what there is.
pub(crate) fn of_deliveries(configured: Option<u64>) -> usize {
    usize::try_from(deliveries(configured, limit())).unwrap_or(usize::MAX)
}

fn deliveries(configured: Option<u64>, limit: Option<u64>) -> u64 {
    let usual = limit.map_or(USUAL_DELIVERIES, |limit| (limit / PART).min(USUAL_DELIVERIES));
    let most = limit.map_or(u64::MAX, |limit| limit / 2);
    configured.map_or(usual, |configured| configured.min(most))
}

/// The least of what the machine has and what the control groups of this process may have.
fn limit() -> Option<u64> {
    let read = |path: &Path| std::fs::read_to_string(path).ok();
    let machine = read(Path::new("/proc/meminfo")).and_then(|text| total(&text));
    let groups = read(Path::new("/proc/self/cgroup")).unwrap_or_default();
    let of_groups = files(&groups).into_iter().filter_map(|path| bytes(&read(&path)?));
    of_groups.chain(machine).min()
}

/// `MemTotal` of `/proc/meminfo`, in bytes.
fn total(text: &str) -> Option<u64> {
    let kib = text.lines().find_map(|line| line.strip_prefix("MemTotal:")?.strip_suffix("kB"))?;
    kib.trim().parse::<u64>().ok()?.checked_mul(1024)
}

/// The files that hold the limits of a process's control groups and of those around them, by `/proc/self/cgroup`.
fn files(groups: &str) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for line in groups.lines() {
        let mut fields = line.splitn(3, ':').skip(1);
        let (Some(controllers), Some(path)) = (fields.next(), fields.next()) else { continue };
        let (root, name) = match controllers {
            // The second version has one tree for all controllers.
            "" => ("/sys/fs/cgroup", "memory.max"),
            of if of.split(',').any(|controller| controller == "memory") => {
                ("/sys/fs/cgroup/memory", "memory.limit_in_bytes")
            }
            _ => continue,
        };
        let path = Path::new(path.trim_start_matches('/'));
        files.extend(path.ancestors().map(|group| Path::new(root).join(group).join(name)));
    }
    files
}

/// A limit as such a file says it; `None` where there is none.
fn bytes(text: &str) -> Option<u64> {
    text.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_files_are_those_of_the_group_and_of_all_around_it() {
        for (groups, wanted) in [
            ("0::/\n", vec!["/sys/fs/cgroup/memory.max"]),
            (
                "0::/system.slice/hookweir.service\n",
                vec![
                    "/sys/fs/cgroup/system.slice/hookweir.service/memory.max",
                    "/sys/fs/cgroup/system.slice/memory.max",
                    "/sys/fs/cgroup/memory.max",
                ],
            ),
            (
                "5:cpu,cpuacct:/x\n4:memory:/small\n",
                vec![
                    "/sys/fs/cgroup/memory/small/memory.limit_in_bytes",
                    "/sys/fs/cgroup/memory/memory.limit_in_bytes",
                ],
            ),
            ("nonsense\n", vec![]),
        ] {
            let wanted: Vec<PathBuf> = wanted.into_iter().map(PathBuf::from).collect();
            assert_eq!(files(groups), wanted, "{groups}");
        }
    }

    #[test]
    fn deliveries_have_what_is_configured_and_half_of_the_machine_at_most() {
        for (configured, limit, wanted) in [
            (None, None, 256),
            (None, Some(16_384), 256),
            (None, Some(1024), 128),
            (Some(64), None, 64),
            (Some(64), Some(16_384), 64),
            (Some(1000), Some(16_384), 1000),
            (Some(1000), Some(1024), 512),
        ] {
            let mebibytes = |number: u64| number << 20;
            let found = deliveries(configured.map(mebibytes), limit.map(mebibytes));
            assert_eq!(found, mebibytes(wanted), "{configured:?} of {limit:?}");
        }
    }

    #[test]
    fn limits_are_read_as_they_are_written() {
        for (text, wanted) in [("67108864\n", Some(67_108_864)), ("max\n", None), ("", None)] {
            assert_eq!(bytes(text), wanted, "{text}");
        }
        assert_eq!(total("MemTotal:       24736720 kB\nMemFree: 1 kB\n"), Some(24_736_720 * 1024));
        assert_eq!(total("MemFree: 1 kB\n"), None);
    }
}
