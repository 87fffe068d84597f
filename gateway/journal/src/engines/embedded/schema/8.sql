-- Idempotency keys that came with an event that was sent again: beside `idempotency`, so that they go when their event goes.
CREATE TABLE further_key (
  seq    INTEGER NOT NULL,
  tenant INTEGER NOT NULL,
  key    TEXT NOT NULL,
  PRIMARY KEY (seq, key)
) STRICT, WITHOUT ROWID
