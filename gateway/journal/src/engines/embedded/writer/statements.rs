//! The writer's statements, prepared once.

use rusqlite::{Connection, Statement};

use crate::engines::embedded::fault::Fault;
use crate::engines::embedded::record::number_columns;

macro_rules! statements {
    ($($name:ident: $sql:expr;)*) => {
        pub(super) struct Statements<'c> {
            $(pub(super) $name: Statement<'c>,)*
        }

        impl<'c> Statements<'c> {
            pub(super) fn prepare(connection: &'c Connection) -> Result<Self, Fault> {
                Ok(Self { $($name: connection.prepare($sql)?,)* })
            }
        }
    };
}

statements! {
    begin: "BEGIN IMMEDIATE";
    commit: "COMMIT";
    rollback: "ROLLBACK";

    insert_event: "INSERT INTO event (seq, tenant, id, type, source, subject, time, received, content_type, \
        attributes, ordering_key, idempotency_key, fingerprint, lanes, crc, data, place) \
        VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17) \
        ON CONFLICT (tenant, id) DO NOTHING";
    insert_key: "INSERT INTO idempotency (tenant, key, seq) VALUES (?1, ?2, ?3)";
    count_further_keys: "SELECT count(*) FROM further_key WHERE seq = ?1";
    insert_further_key: "INSERT INTO further_key (seq, tenant, key) VALUES (?1, ?2, ?3)";
    taken_by_id: "SELECT id, fingerprint, lanes, seq FROM event WHERE tenant = ?1 AND id = ?2";
    taken_by_key: "SELECT e.id, e.fingerprint, e.lanes, e.seq FROM idempotency i JOIN event e ON e.seq = i.seq \
        WHERE i.tenant = ?1 AND i.key = ?2";
    seq_of_event: "SELECT seq, lanes, place FROM event WHERE tenant = ?1 AND id = ?2";
    place_of_event: "SELECT tenant, lanes, place, id FROM event WHERE seq = ?1";
    set_lanes: "UPDATE event SET lanes = ?2, place = ?3 WHERE seq = ?1";
    insert_bare_event: "INSERT INTO event (seq, tenant, id, type, source, time, received, content_type, fingerprint, \
        lanes, crc, data, place) VALUES (?1, ?2, 'damaged~' || ?1, '', '', '', ?3, '', x'', ?4, 0, x'', ?5)";
    be_present: "INSERT INTO present (block, id, fours) VALUES (?1, ?2, ?3) \
        ON CONFLICT (block, id) DO UPDATE SET fours = fours | excluded.fours";
    insert_fresh: "INSERT INTO fresh (lane, seq, size) VALUES (?1, ?2, ?3)";

    size_of_fresh: "SELECT size FROM fresh WHERE lane = ?1 AND seq = ?2";
    drop_fresh: "DELETE FROM fresh WHERE lane = ?1 AND seq = ?2";
    insert_delivery: "INSERT INTO delivery (lane, seq, size, status, due, attempts, base, reason, \
        started, duration, answer, body, plugins, calls, crc) \
        VALUES (?1, ?2, ?3, ?4, ?5, ?6, 0, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14)";
    numbers_of_delivery: concat!("SELECT ", number_columns!(), " FROM delivery WHERE lane = ?1 AND seq = ?2");
    settle_delivery: "UPDATE delivery SET status = ?3, due = ?4, attempts = ?5, reason = ?6, calls = ?7, crc = ?8 \
        WHERE lane = ?1 AND seq = ?2";
    insert_attempt: "INSERT OR REPLACE INTO attempt (lane, seq, n, started, duration, outcome, reason, answer, body, plugins, \
        exchange) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11)";
    keep_shaped: "INSERT INTO shaped (lane, seq, content_type, headers, crc, body) VALUES (?1, ?2, ?3, ?4, ?5, ?6) \
        ON CONFLICT (lane, seq) DO NOTHING";
    drop_shaped: "DELETE FROM shaped WHERE lane = ?1 AND seq = ?2";

    numbers: concat!("SELECT ", number_columns!(), " FROM delivery WHERE lane = ?1 AND seq = ?2 \
        UNION ALL SELECT seq, lane, size, 0, 0, 0, 0, NULL FROM fresh WHERE lane = ?1 AND seq = ?2");
    size_of_event: "SELECT length(data) FROM event WHERE seq = ?1";
    send_again: "UPDATE delivery SET status = 0, due = 0, base = attempts, reason = NULL, crc = ?3 \
        WHERE lane = ?1 AND seq = ?2";
    count_waiting: "SELECT count(*) FROM delivery INDEXED BY delivery_pending WHERE lane = ?1 AND status = 0 AND due > 0";
    waiting: concat!("SELECT ", number_columns!(), " FROM delivery INDEXED BY delivery_pending \
        WHERE lane = ?1 AND status = 0 AND due > 0 ORDER BY due, seq LIMIT ?2");
    hasten: "UPDATE delivery SET due = 0, crc = ?3 WHERE lane = ?1 AND seq = ?2";
    lost: "SELECT d.seq FROM delivery d INDEXED BY delivery_ended JOIN event e ON e.seq = d.seq \
        WHERE d.lane = ?1 AND d.status = ?2 AND d.status > 1 AND d.seq > ?3 AND e.received >= ?4 \
        AND (d.status <> ?6 OR d.reason = ?7) ORDER BY d.seq LIMIT ?5";

    next_event: "SELECT min(seq) FROM event WHERE seq > ?1";
    old_events: "SELECT seq, tenant, idempotency_key, lanes, length(data), place FROM event \
        WHERE seq BETWEEN ?1 AND ?2 ORDER BY seq";
    tried_pending: "SELECT seq FROM delivery WHERE seq BETWEEN ?1 AND ?2 AND +status = 0";
    lanes_pending: "SELECT lane FROM counts WHERE pending > 0";
    fresh_of: "SELECT seq FROM fresh WHERE lane = ?1 AND seq BETWEEN ?2 AND ?3";
    put_clock: "INSERT INTO clock (id, running, time, wall, uptime, boot) VALUES (0, ?1, ?2, ?3, ?4, ?5) \
        ON CONFLICT (id) DO UPDATE SET running = excluded.running, time = excluded.time, wall = excluded.wall, \
        uptime = excluded.uptime, boot = excluded.boot";
    put_age: "INSERT INTO age (running, time, event, message) SELECT ?1, ?2, ?3, given.message FROM \
        (SELECT coalesce((SELECT seq FROM sqlite_sequence WHERE name = 'message_content'), 0) AS message) AS given \
        WHERE NOT EXISTS (SELECT 1 FROM age WHERE age.event = ?3 AND age.message = given.message) \
        ON CONFLICT (running) DO UPDATE SET time = excluded.time, event = excluded.event, message = excluded.message";
    thin_age: "DELETE FROM age WHERE running < ?1 AND running NOT IN \
        (SELECT max(running) FROM age WHERE running < ?1 GROUP BY running / 3600000)";
    drop_age: "DELETE FROM age WHERE running < (SELECT max(running) FROM age \
        WHERE event < coalesce((SELECT min(seq) FROM event), 9223372036854775807) \
        AND message < coalesce((SELECT min(number) FROM message_content), 9223372036854775807))";
    event_at: "SELECT event FROM age WHERE running <= ?1 ORDER BY running DESC LIMIT 1";
    message_at: "SELECT message FROM age WHERE running <= ?1 ORDER BY running DESC LIMIT 1";
    first_since: "SELECT min(first) FROM span WHERE minute >= ?1";
    delete_event: "DELETE FROM event WHERE seq = ?1";
    delete_key: "DELETE FROM idempotency WHERE tenant = ?1 AND key = ?2 AND seq = ?3";
    delete_further_keys: "DELETE FROM idempotency WHERE (tenant, key) IN \
        (SELECT tenant, key FROM further_key WHERE seq = ?1)";
    forget_further_keys: "DELETE FROM further_key WHERE seq = ?1";
    delete_delivery: "DELETE FROM delivery WHERE lane = ?1 AND seq = ?2";
    delete_attempts: "DELETE FROM attempt WHERE lane = ?1 AND seq = ?2";
    delete_present: "DELETE FROM present WHERE block < (SELECT coalesce(min(seq), ?1) FROM event) / 256";
    delete_spans: "DELETE FROM span WHERE last < (SELECT coalesce(min(seq), ?1) FROM event)";

    add_tenant: "INSERT INTO tenant (name) VALUES (?1) ON CONFLICT (name) DO NOTHING";
    tenant: "SELECT id FROM tenant WHERE name = ?1";
    add_lane: "INSERT INTO lane (tenant, endpoint, shard) VALUES (?1, ?2, ?3) ON CONFLICT (tenant, endpoint) DO NOTHING";
    lane: "SELECT id FROM lane WHERE tenant = ?1 AND endpoint = ?2";
    sum_tenant: "UPDATE tenant SET crc = ?2 WHERE id = ?1";
    sum_lane: "UPDATE lane SET crc = ?2 WHERE id = ?1";

    add_counts: "INSERT INTO counts (lane, pending, delivered, filtered, exhausted, failed, cancelled, expired, \
        pending_bytes) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9) ON CONFLICT (lane) DO UPDATE SET \
        pending = pending + excluded.pending, delivered = delivered + excluded.delivered, \
        filtered = filtered + excluded.filtered, exhausted = exhausted + excluded.exhausted, \
        failed = failed + excluded.failed, cancelled = cancelled + excluded.cancelled, \
        expired = expired + excluded.expired, pending_bytes = pending_bytes + excluded.pending_bytes";
    extend_span: "INSERT INTO span (minute, first, last) VALUES (?1, ?2, ?3) \
        ON CONFLICT (minute) DO UPDATE SET last = excluded.last";
    widen_span: "INSERT INTO span (minute, first, last) VALUES (?1, ?2, ?2) \
        ON CONFLICT (minute) DO UPDATE SET first = min(first, excluded.first), last = max(last, excluded.last)";
    put_state: "INSERT INTO endpoint_state (lane, state) VALUES (?1, ?2) \
        ON CONFLICT (lane) DO UPDATE SET state = excluded.state";
    put_blob: "INSERT INTO blob (digest, bytes) VALUES (?1, ?2) ON CONFLICT (digest) DO NOTHING";
    has_blob: "SELECT 1 FROM blob WHERE digest = ?1";
    put_plugin: "INSERT INTO plugin_state (tenant, plugin, current, previous, uploaded, paused) \
        VALUES (?1, ?2, ?3, ?4, ?5, ?6) ON CONFLICT (tenant, plugin) DO UPDATE SET current = excluded.current, \
        previous = excluded.previous, uploaded = excluded.uploaded, paused = excluded.paused";
    drop_blobs: "DELETE FROM blob WHERE digest NOT IN (SELECT current FROM plugin_state WHERE current IS NOT NULL \
        UNION ALL SELECT previous FROM plugin_state WHERE previous IS NOT NULL)";
    put_content: "INSERT INTO message_content (crc, id, type, source, subject, time, content_type, headers, body) \
        VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)";
    put_message: "INSERT INTO message (lane, number, state, visible, receives, enqueued, size) \
        VALUES (?1, ?2, ?3, ?4, 0, ?5, ?6)";
    visible: "SELECT number, receives, size FROM message INDEXED BY message_waiting \
        WHERE lane = ?1 AND state < 2 AND visible <= ?2 ORDER BY visible, number LIMIT ?3";
    next_visible: "SELECT visible FROM message INDEXED BY message_waiting \
        WHERE lane = ?1 AND state < 2 ORDER BY visible, number LIMIT 1";
    take_message: "UPDATE message SET state = ?3, visible = ?4, receives = receives + 1, \
        first_received = coalesce(first_received, ?5), token = ?6 WHERE lane = ?1 AND number = ?2";
    held_message: "SELECT state, token, receives FROM message WHERE lane = ?1 AND number = ?2";
    give_back: "UPDATE message SET state = ?3, visible = ?4, receives = receives - ?5, token = NULL \
        WHERE lane = ?1 AND number = ?2";
    extend_message: "UPDATE message SET visible = ?3 WHERE lane = ?1 AND number = ?2";
    bury_message: "UPDATE message SET state = ?3, token = NULL WHERE lane = ?1 AND number = ?2 AND state < 2";
    oldest_dead: "SELECT number FROM message INDEXED BY message_dead \
        WHERE lane = ?1 AND state = 2 ORDER BY number LIMIT ?2";
    revive: "UPDATE message SET state = ?3, visible = ?4, receives = 0, first_received = NULL \
        WHERE lane = ?1 AND number = ?2 AND state = 2";
    oldest_messages: "SELECT number, state FROM message WHERE lane = ?1 ORDER BY number LIMIT ?2";
    drop_message: "DELETE FROM message WHERE lane = ?1 AND number = ?2";
    drop_content: "DELETE FROM message_content WHERE number = ?1";
    add_messages: "INSERT INTO queue (lane, alive, dead) VALUES (?1, ?2, ?3) \
        ON CONFLICT (lane) DO UPDATE SET alive = alive + excluded.alive, dead = dead + excluded.dead";
    put_meta: "INSERT INTO meta (name, value) VALUES (?1, ?2) \
        ON CONFLICT (name) DO UPDATE SET value = excluded.value";

    page_count: "PRAGMA page_count";
    free_pages: "PRAGMA freelist_count";
    vacuum: "PRAGMA incremental_vacuum(512)";
}
