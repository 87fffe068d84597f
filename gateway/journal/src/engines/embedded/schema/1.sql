-- Names are long and rows are many: rows refer to names by number. Neither is ever removed.
CREATE TABLE tenant (
  id   INTEGER PRIMARY KEY,
  name TEXT NOT NULL UNIQUE
) STRICT;

-- A lane is an endpoint as the journal knows it: the place of its deliveries.
CREATE TABLE lane (
  id       INTEGER PRIMARY KEY,
  tenant   INTEGER NOT NULL,
  endpoint TEXT NOT NULL,
  shard    INTEGER NOT NULL,
  UNIQUE (tenant, endpoint)
) STRICT;

-- `lanes` is a JSON list of the lanes that have a delivery of the event, so that nobody has to probe them all.
-- `crc` holds two checksums: of the columns before it in its upper half, of `data` in its lower half. `lanes` is
-- outside of them, since a replay adds to it.
CREATE TABLE event (
  seq             INTEGER PRIMARY KEY,
  tenant          INTEGER NOT NULL,
  id              TEXT NOT NULL,
  type            TEXT NOT NULL,
  source          TEXT NOT NULL,
  subject         TEXT,
  time            TEXT NOT NULL,
  received        INTEGER NOT NULL,
  content_type    TEXT NOT NULL,
  attributes      TEXT,
  ordering_key    TEXT,
  idempotency_key TEXT,
  fingerprint     BLOB NOT NULL,
  lanes           TEXT,
  crc             INTEGER NOT NULL,
  data            BLOB NOT NULL
) STRICT;
CREATE UNIQUE INDEX event_id ON event (tenant, id);
CREATE INDEX event_tenant ON event (tenant);

CREATE TABLE idempotency (
  tenant INTEGER NOT NULL,
  key    TEXT NOT NULL,
  seq    INTEGER NOT NULL,
  PRIMARY KEY (tenant, key)
) STRICT, WITHOUT ROWID;

-- `due` is 0 where the delivery is due at once. `base` counts the attempts of earlier rounds.
CREATE TABLE delivery (
  lane     INTEGER NOT NULL,
  seq      INTEGER NOT NULL,
  status   INTEGER NOT NULL,
  due      INTEGER NOT NULL,
  attempts INTEGER NOT NULL,
  base     INTEGER NOT NULL,
  reason   TEXT,
  PRIMARY KEY (lane, seq)
) STRICT, WITHOUT ROWID;
CREATE INDEX delivery_pending ON delivery (lane, due, seq) WHERE status = 0;
CREATE INDEX delivery_ended ON delivery (lane, status, seq) WHERE status > 1;

CREATE TABLE attempt (
  lane     INTEGER NOT NULL,
  seq      INTEGER NOT NULL,
  n        INTEGER NOT NULL,
  started  INTEGER NOT NULL,
  duration INTEGER NOT NULL,
  outcome  INTEGER NOT NULL,
  reason   TEXT,
  answer   INTEGER,
  body     TEXT,
  plugins  TEXT,
  PRIMARY KEY (lane, seq, n)
) STRICT, WITHOUT ROWID;

CREATE TABLE shaped (
  lane         INTEGER NOT NULL,
  seq          INTEGER NOT NULL,
  content_type TEXT NOT NULL,
  headers      TEXT,
  crc          INTEGER NOT NULL,
  body         BLOB NOT NULL,
  PRIMARY KEY (lane, seq)
) STRICT, WITHOUT ROWID;

-- How many deliveries of a lane have which status: what the lists say, without counting.
CREATE TABLE count (
  lane   INTEGER NOT NULL,
  status INTEGER NOT NULL,
  n      INTEGER NOT NULL,
  PRIMARY KEY (lane, status)
) STRICT, WITHOUT ROWID;

-- The first and last event received in a minute. Time bounds of queries become bounds on `seq` by it, whatever the
-- clock did, and events need no index by time.
CREATE TABLE span (
  minute INTEGER PRIMARY KEY,
  first  INTEGER NOT NULL,
  last   INTEGER NOT NULL
) STRICT;

CREATE TABLE endpoint_state (
  lane  INTEGER PRIMARY KEY,
  state TEXT NOT NULL
) STRICT;

CREATE TABLE blob (
  id     INTEGER PRIMARY KEY,
  digest BLOB NOT NULL UNIQUE,
  bytes  BLOB NOT NULL
) STRICT;

-- Single numbers: `epoch` (counts openings and owners), `seq` (the last one given), `clean` (the epoch that was
-- closed in order).
CREATE TABLE meta (
  name  TEXT PRIMARY KEY,
  value INTEGER NOT NULL
) STRICT, WITHOUT ROWID
