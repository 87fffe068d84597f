-- Messages of queues, as far as they change; a queue is its endpoint's lane. `state` is 0 while nobody has received it,
-- 1 once somebody has (who holds `token`), 2 for a dead letter. Changing a row moves no body.
CREATE TABLE message (
  lane           INTEGER NOT NULL,
  number         INTEGER NOT NULL,
  state          INTEGER NOT NULL,
  visible        INTEGER NOT NULL,
  receives       INTEGER NOT NULL,
  enqueued       INTEGER NOT NULL,
  size           INTEGER NOT NULL,
  first_received INTEGER,
  token          BLOB,
  PRIMARY KEY (lane, number)
) STRICT, WITHOUT ROWID;
CREATE INDEX message_waiting ON message (lane, visible, number, state) WHERE state < 2;
CREATE INDEX message_dead ON message (lane, number) WHERE state = 2;

-- What a message says. `crc` is the checksum of all the columns after `number`. A number is never given twice.
CREATE TABLE message_content (
  number       INTEGER PRIMARY KEY AUTOINCREMENT,
  crc          INTEGER NOT NULL,
  id           TEXT NOT NULL,
  type         TEXT NOT NULL,
  source       TEXT NOT NULL,
  subject      TEXT,
  time         TEXT NOT NULL,
  content_type TEXT NOT NULL,
  headers      TEXT,
  body         BLOB NOT NULL
) STRICT;

-- How many messages a lane holds, dead letters apart.
CREATE TABLE queue (
  lane  INTEGER PRIMARY KEY,
  alive INTEGER NOT NULL,
  dead  INTEGER NOT NULL
) STRICT
