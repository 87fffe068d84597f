-- What was found damaged: see `Damages` in the contract. `first` and `last` are numbers of events, `found` and
-- `acknowledged` milliseconds. Names stand here as text, since the row must be readable when other tables are not.
CREATE TABLE damage (
  number       INTEGER PRIMARY KEY AUTOINCREMENT,
  kind         TEXT NOT NULL,
  first        INTEGER,
  last         INTEGER,
  tenant       TEXT,
  endpoint     TEXT,
  event        TEXT,
  what         TEXT NOT NULL,
  found        INTEGER NOT NULL,
  acknowledged INTEGER
) STRICT;
CREATE UNIQUE INDEX damage_known ON damage (kind, coalesce(first, 0), coalesce(last, 0), coalesce(tenant, ''),
  coalesce(endpoint, ''), coalesce(event, '')) WHERE acknowledged IS NULL
