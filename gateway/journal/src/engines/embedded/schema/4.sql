-- What is written for each event lies at the end of its table, beside what is written for the others of that moment,
-- whosever they are: a page that is written for one event alone costs more than all else about it.

-- A delivery that was never tried. Its first settlement moves it to `delivery`, where it then stays: most deliveries are
-- written there once, with how they ended. The table is empty but for what waits. `size` is that of the event's data.
CREATE TABLE fresh (
  lane INTEGER NOT NULL,
  seq  INTEGER NOT NULL,
  size INTEGER NOT NULL,
  PRIMARY KEY (lane, seq)
) STRICT, WITHOUT ROWID;

-- A first attempt that delivered lies in its delivery's row and not in `attempt`, unless the answer had a long text.
-- `started` tells that it does.
CREATE TABLE tried (
  seq      INTEGER NOT NULL,
  lane     INTEGER NOT NULL,
  size     INTEGER NOT NULL,
  status   INTEGER NOT NULL,
  due      INTEGER NOT NULL,
  attempts INTEGER NOT NULL,
  base     INTEGER NOT NULL,
  reason   TEXT,
  started  INTEGER,
  duration INTEGER,
  answer   INTEGER,
  body     TEXT,
  plugins  TEXT,
  PRIMARY KEY (seq, lane)
) STRICT, WITHOUT ROWID;
INSERT INTO tried (seq, lane, size, status, due, attempts, base, reason)
  SELECT d.seq, lane, length(data), status, due, attempts, base, reason
  FROM delivery d JOIN event e ON e.seq = d.seq ORDER BY d.seq, lane;
DROP TABLE delivery;
ALTER TABLE tried RENAME TO delivery;
CREATE INDEX delivery_pending ON delivery (lane, due, seq) WHERE status = 0;
CREATE INDEX delivery_ended ON delivery (lane, status, seq) WHERE status > 1;

-- Ids that the gateway makes grow with time.
DROP INDEX event_id;
CREATE UNIQUE INDEX event_id ON event (id, tenant);

-- Of which blocks of 256 numbers a tenant (as a negative number) has an event, and a lane a delivery: lists look at
-- these blocks alone. No index has to order events by tenant, nor deliveries by lane.
CREATE TABLE present (
  block INTEGER NOT NULL,
  id    INTEGER NOT NULL,
  PRIMARY KEY (block, id)
) STRICT, WITHOUT ROWID;
INSERT INTO present SELECT DISTINCT seq / 256, -tenant FROM event UNION SELECT DISTINCT seq / 256, lane FROM delivery;
DROP INDEX event_tenant;

-- How many deliveries of a lane have which status, in a row for each lane; and how many bytes of data the pending ones
-- have.
CREATE TABLE counts (
  lane          INTEGER PRIMARY KEY,
  pending       INTEGER NOT NULL,
  delivered     INTEGER NOT NULL,
  filtered      INTEGER NOT NULL,
  exhausted     INTEGER NOT NULL,
  failed        INTEGER NOT NULL,
  cancelled     INTEGER NOT NULL,
  expired       INTEGER NOT NULL,
  pending_bytes INTEGER NOT NULL
) STRICT;
INSERT INTO counts SELECT lane, sum(n * (status = 0)), sum(n * (status = 1)), sum(n * (status = 2)), sum(n * (status = 3)),
  sum(n * (status = 4)), sum(n * (status = 5)), sum(n * (status = 6)),
  (SELECT coalesce(sum(size), 0) FROM delivery d WHERE d.lane = c.lane AND d.status = 0) FROM count c GROUP BY lane;
DROP TABLE count
