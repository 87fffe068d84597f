//! The life of the writer's thread: it serves one file until the journal closes, or until that file is replaced by another.

use std::sync::Arc;
use std::time::Instant;

use rusqlite::Connection;

use super::log::Log;
use super::op::Op;
use super::present::Present;
use super::statements::Statements;
use super::sweep::Sweeps;
use super::tally::Tally;
use super::{Writer, rebuild};
use crate::Error;
use crate::engines::embedded::Shared;
use crate::engines::embedded::fault::Fault;
use crate::engines::embedded::lock::Lock;
use crate::engines::embedded::wal::Mark;

/// What the writer thread starts from.
#[derive(Debug)]
pub(in crate::engines::embedded) struct Start {
    pub(in crate::engines::embedded) connection: Connection,
    pub(in crate::engines::embedded) lock: Lock,
    /// The number given last.
    pub(in crate::engines::embedded) last: i64,
    pub(in crate::engines::embedded) mark: Mark,
}

/// Serves the inbox until it is closed and empty, then leaves the file in order.
pub(in crate::engines::embedded) fn run(shared: &Arc<Shared>, start: Start) {
    // Whatever ends this thread, nobody may wait for it for ever.
    let _abandon = Abandon(Arc::clone(shared));
    let Start { connection, lock, last, mark } = start;
    let mut left = Left { last, kept: Vec::new() };
    let mut open = Some((connection, mark));
    while let Some((mut connection, mark)) = open.take() {
        let damage = serve(shared, &mut connection, mark, &mut left);
        // The file is closed before it is replaced, and before the next process may have it.
        drop(connection);
        let Some(why) = damage else { break };
        match rebuild::rebuild(shared, &why, left.last) {
            Ok((last, connection, mark)) => {
                left.last = last;
                open = Some((connection, mark));
            }
            Err(fault) => {
                let why = format!("the damaged journal can't be opened: {:?}", fault.of_write());
                left.kept.drain(..).for_each(|op| op.fail(Error::Unknown(why.clone())));
                shared.door.poison(why);
            }
        }
    }
    shared.door.close();
    drop(lock);
}

/// What goes from one file to the next.
struct Left {
    last: i64,
    kept: Vec<Op>,
}

/// Serves until the inbox is closed, or the file is to be rebuilt, which it says why.
fn serve(shared: &Arc<Shared>, connection: &mut Connection, mark: Mark, left: &mut Left) -> Option<String> {
    let log = Log::watch(&shared.path, connection, &mark);
    let (log, statements) = match log.and_then(|log| Ok((log, Statements::prepare(connection)?))) {
        Ok(ready) => ready,
        Err(fault) => {
            if let Fault::Corrupt(why) = &fault {
                shared.repair.want(why);
                if let Some(why) = shared.repair.begin(Instant::now()) {
                    return Some(why);
                }
            }
            shared.door.poison(format!("the journal's writer can't start: {:?}", fault.of_write()));
            return None;
        }
    };
    let mut writer = Writer {
        shared,
        connection,
        statements,
        log,
        mark,
        tally: Tally::default(),
        present: Present::default(),
        sweeps: Sweeps::default(),
        has_warned: false,
        last: left.last,
        kept: std::mem::take(&mut left.kept),
        poisoned: None,
        full_since: None,
        looked: None,
        written: 0,
        // An earlier run may have left unused pages.
        may_shrink: true,
        has_shrunk: false,
        rebuild: None,
    };
    writer.serve();
    writer.log.stop();
    (left.last, left.kept) = (writer.last, std::mem::take(&mut writer.kept));
    if writer.rebuild.is_none() && left.kept.is_empty() && writer.poisoned.is_none() {
        writer.leave_in_order();
    }
    writer.rebuild.take()
}

struct Abandon(Arc<Shared>);

impl Drop for Abandon {
    fn drop(&mut self) {
        self.0.door.close();
        self.0.inbox.abandon();
    }
}
