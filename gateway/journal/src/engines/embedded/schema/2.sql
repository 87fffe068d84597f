-- What was uploaded for a plugin (`current`, `previous`: digests of blobs; `uploaded`: when) and, as JSON, why it is
-- paused. A plugin from a file has a row only while it is paused or was.
CREATE TABLE plugin_state (
  tenant   INTEGER NOT NULL,
  plugin   TEXT NOT NULL,
  current  BLOB,
  previous BLOB,
  uploaded INTEGER,
  paused   TEXT,
  PRIMARY KEY (tenant, plugin)
) STRICT, WITHOUT ROWID
