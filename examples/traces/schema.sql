-- What was imported. An import is one row here or nothing anywhere: its traces and spans go with it.
CREATE TABLE IF NOT EXISTS import (
  id TEXT PRIMARY KEY,
  owner TEXT NOT NULL,
  name TEXT NOT NULL,
  imported_at REAL NOT NULL, -- seconds since 1970
  summary TEXT NOT NULL -- JSON, as the job's result has it
);

CREATE INDEX IF NOT EXISTS import_of_owner ON import (owner, imported_at);

-- Times in microseconds, `start` since 1970.
CREATE TABLE IF NOT EXISTS trace (
  import_id TEXT NOT NULL REFERENCES import ON DELETE CASCADE,
  trace_id TEXT NOT NULL,
  name TEXT NOT NULL, -- of its first span without a parent
  service TEXT NOT NULL,
  start INTEGER NOT NULL,
  duration INTEGER NOT NULL,
  spans INTEGER NOT NULL,
  errors INTEGER NOT NULL,
  PRIMARY KEY (import_id, trace_id)
) WITHOUT ROWID;

CREATE TABLE IF NOT EXISTS span (
  import_id TEXT NOT NULL REFERENCES import ON DELETE CASCADE,
  trace_id TEXT NOT NULL,
  span_id TEXT NOT NULL,
  parent_id TEXT,
  name TEXT NOT NULL,
  service TEXT NOT NULL,
  start INTEGER NOT NULL,
  duration INTEGER NOT NULL,
  status TEXT NOT NULL,
  attributes TEXT NOT NULL, -- JSON
  PRIMARY KEY (import_id, trace_id, span_id)
) WITHOUT ROWID;

-- What is being imported lies in a table of this connection alone: no other one waits for it, and none ever sees it.
CREATE TEMP TABLE IF NOT EXISTS arriving (
  trace_id TEXT NOT NULL,
  span_id TEXT NOT NULL,
  parent_id TEXT,
  name TEXT NOT NULL,
  service TEXT NOT NULL,
  start INTEGER NOT NULL,
  duration INTEGER NOT NULL,
  status TEXT NOT NULL,
  attributes TEXT NOT NULL,
  PRIMARY KEY (trace_id, span_id)
) WITHOUT ROWID;
