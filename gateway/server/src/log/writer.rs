//! The thread that writes the log. It alone waits where standard error is not read, or fails where it can't be written.

use std::cell::RefCell;
use std::fs::File;
use std::io::{self, Write};
use std::os::fd::AsFd as _;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use tracing::warn;

use super::queue::{Next, Queue};

/// How long to wait for a standard error that was set not to block and is full.
const PAUSE: Duration = Duration::from_millis(20);

thread_local! {
    /// On the writer's own thread: what it logs itself, which must not wait behind what it has yet to write.
    static OWN: RefCell<Option<Vec<u8>>> = const { RefCell::new(None) };
}

/// Starts the thread. It ends with the process.
pub(super) fn start(queue: &'static Queue, lost: &'static AtomicU64) -> io::Result<()> {
    // A descriptor of its own: the library's has a lock, which a write that does not end would hold for ever.
    let out = File::from(io::stderr().as_fd().try_clone_to_owned()?);
    let mut writer = Writer { out, is_torn: false, lost, unsaid: 0 };
    thread::Builder::new().name("log".to_owned()).spawn(move || {
        loop {
            writer.step(queue);
        }
    })?;
    Ok(())
}

/// Keeps a line of the writer's own thread for it; answers whether this is that thread.
pub(super) fn keep_own(line: &[u8]) -> bool {
    OWN.with_borrow_mut(|own| match own {
        Some(own) => {
            own.extend_from_slice(line);
            true
        }
        None => false,
    })
}

struct Writer<W> {
    out: W,
    /// The last write ended within a line.
    is_torn: bool,
    /// All lines that were lost, for the metric.
    lost: &'static AtomicU64,
    /// Lost lines that the log has not told of yet.
    unsaid: u64,
}

impl<W: Write> Writer<W> {
    /// Writes the next line, and, once nothing waits any more, how many are missing.
    fn step(&mut self, queue: &Queue) {
        let Next { line, dropped } = queue.next();
        // Those that found no room were counted when they were dropped.
        self.unsaid += dropped;
        if !self.write(&line) {
            self.lost.fetch_add(1, Ordering::Relaxed);
            self.unsaid += 1;
        } else if self.unsaid > 0 && queue.is_last() {
            let line = own_line(self.unsaid);
            if self.write(&line) {
                self.unsaid = 0;
            }
        }
    }

    /// Whether all of it was written. What failed is not tried again: the disk may be full for days.
    fn write(&mut self, line: &[u8]) -> bool {
        let start: &[u8] = if self.is_torn { b"\n" } else { b"" };
        let whole = [start, line].concat();
        let written = write_all(&mut self.out, &whole);
        if written > 0 {
            self.is_torn = written < whole.len();
        }
        written == whole.len()
    }
}

/// The line that says how many are missing, in the form that all lines have; empty where the filter leaves it out.
fn own_line(dropped: u64) -> Vec<u8> {
    OWN.set(Some(Vec::new()));
    warn!(target: "hookweir::log", dropped, "lines of the log were dropped");
    OWN.take().unwrap_or_default()
}

/// Writes as much as goes; answers how much that was.
fn write_all(out: &mut impl Write, bytes: &[u8]) -> usize {
    let mut written = 0;
    while written < bytes.len() {
        match out.write(&bytes[written..]) {
            Ok(0) => break,
            Ok(count) => written += count,
            Err(error) => match error.kind() {
                io::ErrorKind::Interrupted => {}
                io::ErrorKind::WouldBlock => thread::park_timeout(PAUSE),
                _ => break,
            },
        }
    }
    written
}

#[cfg(test)]
mod tests {
    use super::*;

    static LOST: AtomicU64 = AtomicU64::new(0);

    /// Takes so many bytes, then fails until it is given room.
    #[derive(Default)]
    struct Disk {
        text: Vec<u8>,
        room: usize,
    }

    impl Write for Disk {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let count = bytes.len().min(self.room);
            if count == 0 {
                return Err(io::ErrorKind::StorageFull.into());
            }
            self.room -= count;
            self.text.extend_from_slice(&bytes[..count]);
            Ok(count)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_line_that_was_torn_does_not_spoil_the_next_and_is_counted() {
        let mut writer =
            Writer { out: Disk { room: 8, ..Disk::default() }, is_torn: false, lost: &LOST, unsaid: 0 };
        let queue = Queue::new(1024);
        for line in ["first\n", "second\n", "third\n"] {
            assert!(queue.push(line.as_bytes()));
        }
        (0..3).for_each(|_| writer.step(&queue));
        assert_eq!((LOST.load(Ordering::Relaxed), writer.unsaid), (2, 2));
        writer.out.room = 1000;
        queue.push(b"fourth\n");
        writer.step(&queue);
        // No subscriber is there in this test, so that the line which tells of it is empty.
        assert_eq!(String::from_utf8_lossy(&writer.out.text), "first\nse\nfourth\n");
        assert_eq!(writer.unsaid, 0);
    }
}
