-- The gateway's clock as it was kept last, in milliseconds: one row.
CREATE TABLE clock (
  id      INTEGER PRIMARY KEY CHECK (id = 0),
  running INTEGER NOT NULL,
  time    INTEGER NOT NULL,
  wall    INTEGER NOT NULL,
  uptime  INTEGER NOT NULL,
  boot    TEXT NOT NULL
) STRICT;

-- The numbers of the last event and message that were there at a running time, and the gateway's own time then. Age is
-- told by it, whatever the wall clock did.
CREATE TABLE age (
  running INTEGER PRIMARY KEY,
  time    INTEGER NOT NULL,
  event   INTEGER NOT NULL,
  message INTEGER NOT NULL
) STRICT;
CREATE INDEX age_event ON age (event, time);
CREATE INDEX age_message ON age (message, time)
