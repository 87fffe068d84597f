-- A delivery that was never tried. Its first settlement moves it to `delivery`, where it then stays: most deliveries are
-- written there once, with how they ended.
CREATE TABLE fresh (
  lane INTEGER NOT NULL,
  seq  INTEGER NOT NULL,
  PRIMARY KEY (lane, seq)
) STRICT, WITHOUT ROWID;

-- A first attempt that delivered lies in its delivery's row and not in `attempt`, unless the answer had a long text.
-- `started` tells that it does.
ALTER TABLE delivery ADD COLUMN started INTEGER;
ALTER TABLE delivery ADD COLUMN duration INTEGER;
ALTER TABLE delivery ADD COLUMN answer INTEGER;
ALTER TABLE delivery ADD COLUMN body TEXT;
ALTER TABLE delivery ADD COLUMN plugins TEXT;

-- Ids that the gateway makes grow with time: those of one moment lie in one place, whosever they are.
DROP INDEX event_id;
CREATE UNIQUE INDEX event_id ON event (id, tenant);

-- The events of a tenant are found by the deliveries of its lanes; this is for those that have none.
DROP INDEX event_tenant;
CREATE INDEX event_unmatched ON event (tenant) WHERE lanes IS NULL;

-- How many deliveries of a lane have which status, in a row for each lane.
CREATE TABLE counts (
  lane      INTEGER PRIMARY KEY,
  pending   INTEGER NOT NULL,
  delivered INTEGER NOT NULL,
  filtered  INTEGER NOT NULL,
  exhausted INTEGER NOT NULL,
  failed    INTEGER NOT NULL,
  cancelled INTEGER NOT NULL,
  expired   INTEGER NOT NULL
) STRICT;
INSERT INTO counts SELECT lane, sum(n * (status = 0)), sum(n * (status = 1)), sum(n * (status = 2)), sum(n * (status = 3)),
  sum(n * (status = 4)), sum(n * (status = 5)), sum(n * (status = 6)) FROM count GROUP BY lane;
DROP TABLE count
