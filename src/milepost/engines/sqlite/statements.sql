-- Every statement of the SQLite engine. `-- name: sentence` begins one; what it promises is in engine.py.
--
-- Tables: `document` has one row per key. `place` has one row per document, audience and term, and is all that reads
-- walk. Each document stands at the term "seen" at its revision, which `changes` reads; at its own term, which is its kind
-- and labels together, at its order, which `find`, `count` and snapshots read; and, while it is open, at "open" at its
-- `open_until`. (A row for each label would be as quick to read, but a publish would write twice the rows on three times
-- the pages. An audience's documents are of a few terms.) The audience '' stands for the whole tenant, so that nothing
-- has a second way for readers of everything. Audiences and terms are numbered in `reader` and `term`: the rows of the big
-- table are a quarter of the size, and new audiences (each job has one) are added at its end and not all over it.

-- schema_1: Everything that version 1 of the file holds; `schema_2` would be what makes version 2 of it.
CREATE TABLE file (
    one     INTEGER PRIMARY KEY CHECK (one = 1),
    id      TEXT NOT NULL,              -- drawn once: tells this file from another one in its place
    secret  TEXT NOT NULL,              -- the epochs of tenants without a row come from it
    renewed INTEGER NOT NULL,           -- the group of the last renew_epoch
    probed  INTEGER NOT NULL            -- 0 or 1: written by each ping
) STRICT;
CREATE TABLE tenant (
    id       INTEGER PRIMARY KEY,
    name     TEXT NOT NULL UNIQUE,
    epoch    TEXT NOT NULL,
    drawn_at REAL NOT NULL,             -- when a cursor ahead of the head last drew a new epoch
    head     INTEGER NOT NULL,
    floor    INTEGER NOT NULL,
    grown    INTEGER NOT NULL           -- the number of the last group that touched it, counted over the whole file
) STRICT;
CREATE INDEX tenant_grown ON tenant (grown);
CREATE TABLE document (
    id         INTEGER PRIMARY KEY,
    tenant     INTEGER NOT NULL,
    key        TEXT NOT NULL,
    kind       TEXT NOT NULL,
    revision   INTEGER NOT NULL,
    ord        INTEGER NOT NULL,
    audiences  TEXT NOT NULL,           -- JSON, as are labels
    labels     TEXT NOT NULL,
    open_until REAL NOT NULL,
    expires_at REAL,
    due_at     REAL,
    gone_at    REAL,
    body       BLOB NOT NULL,
    private    BLOB NOT NULL,
    UNIQUE (tenant, key)
) STRICT;
CREATE INDEX document_due ON document (due_at) WHERE due_at IS NOT NULL;
CREATE INDEX document_expires ON document (expires_at) WHERE expires_at IS NOT NULL;
CREATE INDEX document_gone ON document (gone_at) WHERE gone_at IS NOT NULL;
CREATE TABLE reader (
    id       INTEGER PRIMARY KEY,
    tenant   INTEGER NOT NULL,
    audience TEXT NOT NULL,
    UNIQUE (tenant, audience)
) STRICT;
CREATE TABLE term (
    id   INTEGER PRIMARY KEY,
    text TEXT NOT NULL UNIQUE           -- JSON: the kind, then the labels
) STRICT;
INSERT INTO term (id, text) VALUES (1, 'seen'), (2, 'open');
CREATE TABLE place (
    reader   INTEGER NOT NULL,
    term     INTEGER NOT NULL,
    at       REAL NOT NULL,
    document INTEGER NOT NULL,
    PRIMARY KEY (reader, term, at, document)
) STRICT, WITHOUT ROWID;
CREATE TABLE cover (
    tenant   INTEGER NOT NULL,
    audience TEXT NOT NULL,
    covered  TEXT NOT NULL,
    PRIMARY KEY (tenant, audience, covered)
) STRICT, WITHOUT ROWID;

-- create_file: The file's own row.
INSERT INTO file (one, id, secret, renewed, probed) VALUES (1, ?, ?, 0, 0);

-- file: Which file this is, what its tenants' first epochs come from, and the number of its last group.
SELECT id, secret, max(renewed, coalesce((SELECT max(grown) FROM tenant), 0)), renewed FROM file;

-- tenant: Where a tenant's history stands.
SELECT id, epoch, head, floor, drawn_at FROM tenant WHERE name = ?;

-- secret: What the epoch of a tenant without a row comes from.
SELECT secret FROM file;

-- add_tenant: A tenant's first commit gives it a row.
INSERT INTO tenant (name, epoch, drawn_at, head, floor, grown) VALUES (?, ?, -1e9, 0, 0, 0) RETURNING id;

-- grow: A group moves a tenant's head.
UPDATE tenant SET head = ?, grown = ? WHERE id = ?;

-- draw_epoch: A cursor ahead of the head proved that the history was rewritten.
UPDATE tenant SET epoch = ?, drawn_at = ? WHERE id = ?;

-- tenants: Every tenant.
SELECT id, name FROM tenant;

-- renew_tenant: A new epoch by hand.
UPDATE tenant SET epoch = ?, grown = ? WHERE id = ?;

-- renew_file: A new secret, so that tenants without a row have a new epoch too.
UPDATE file SET secret = ?, renewed = ?;

-- raise_floor: Cursors below the highest revision that was dropped are answered by a snapshot.
UPDATE tenant SET floor = max(floor, ?) WHERE id = ?;

-- grown: The tenants that grew after a group, and the last group of each.
SELECT name, grown FROM tenant WHERE grown > ?;

-- last_id: The highest id that a document has.
SELECT coalesce(max(id), 0) FROM document;

-- stored: What the writer must know of a document that it is about to replace.
SELECT id, kind, revision, ord, audiences, labels, open_until, expires_at, due_at, gone_at IS NOT NULL
FROM document WHERE tenant = ? AND key = ?;

-- insert: A new document.
INSERT INTO document (
    id, tenant, key, kind, revision, ord, audiences, body, private, labels, open_until, expires_at, due_at, gone_at
) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?);

-- tick: A document whose places stay what they are; the common case, spared the other indexes.
UPDATE document SET revision = ?, body = ?, private = ?, due_at = ? WHERE id = ?;

-- rewrite: A document of which anything may have changed.
UPDATE document SET kind = ?, revision = ?, ord = ?, audiences = ?, body = ?, private = ?, labels = ?, open_until = ?,
    expires_at = ?, due_at = ?, gone_at = ?
WHERE id = ?;

-- reader: The number of an audience.
SELECT id FROM reader WHERE tenant = ? AND audience = ?;

-- add_reader: An audience gets its number with its first document.
INSERT INTO reader (tenant, audience) VALUES (?, ?) RETURNING id;

-- drop_reader: An audience that sees nothing any more is forgotten.
DELETE FROM reader WHERE id = ? AND NOT EXISTS (SELECT 1 FROM place WHERE reader = reader.id);

-- term: The number of a term.
SELECT id FROM term WHERE text = ?;

-- add_term: A term gets its number when it first occurs.
INSERT INTO term (text) VALUES (?) RETURNING id;

-- move: A document is seen at its new revision.
UPDATE place SET at = ? WHERE reader = ? AND term = 1 AND at = ?;

-- put: A document takes a place.
INSERT INTO place (reader, term, at, document) VALUES (?, ?, ?, ?);

-- take: A document leaves a place.
DELETE FROM place WHERE reader = ? AND term = ? AND at = ? AND document = ?;

-- add_cover: For readers of the audience the covered key is left out.
INSERT OR IGNORE INTO cover (tenant, audience, covered) VALUES (?, ?, ?);

-- drop_cover: The cover is gone.
DELETE FROM cover WHERE tenant = ? AND audience = ? AND covered = ?;

-- touch: A due time moves without a revision.
UPDATE document SET due_at = ? WHERE id = ?;

-- drop: A gone document has been gone for long enough.
DELETE FROM document WHERE id = ?;

-- expired: Documents whose time is over, in the order of their creation where they expire together.
SELECT t.name, d.key FROM document d CROSS JOIN tenant t ON t.id = d.tenant
WHERE d.expires_at <= ? ORDER BY d.expires_at, d.id LIMIT ?;

-- gone_before: Documents that have been gone since before a time.
SELECT id, tenant, revision, audiences FROM document WHERE gone_at <= ? ORDER BY gone_at LIMIT ?;

-- probe: A write that means nothing, to see whether the disk takes one.
UPDATE file SET probed = 1 - probed;

-- due: Documents of any tenant that something must happen to.
SELECT t.name, d.key, d.kind, d.revision, d.ord, d.audiences, d.body, d.private, d.labels, d.open_until,
    d.expires_at, d.due_at, d.gone_at IS NOT NULL
FROM document d CROSS JOIN tenant t ON t.id = d.tenant WHERE d.due_at <= ? ORDER BY d.due_at LIMIT ?;

-- by_key: One document.
SELECT key, kind, revision, ord, audiences, body, private, labels, open_until, expires_at, due_at, gone_at IS NOT NULL
FROM document WHERE tenant = ? AND key = ?;

-- by_prefix: The documents under the keys between two.
SELECT key, kind, revision, ord, audiences, body, private, labels, open_until, expires_at, due_at, gone_at IS NOT NULL
FROM document WHERE tenant = ? AND key >= ? AND key < ?;

-- after: What an audience has not seen up to a bound, oldest first.
SELECT d.key, d.kind, d.revision, d.ord, d.audiences, d.body, d.private, d.labels, d.open_until, d.expires_at,
    d.due_at, d.gone_at IS NOT NULL
FROM place p CROSS JOIN document d ON d.id = p.document
WHERE p.reader = ? AND p.term = 1 AND p.at > ? AND p.at <= ? ORDER BY p.at LIMIT ?;

-- open: The open documents of an audience.
SELECT d.key, d.kind, d.revision, d.ord, d.audiences, d.body, d.private, d.labels, d.open_until, d.expires_at,
    d.due_at, d.gone_at IS NOT NULL
FROM place p CROSS JOIN document d ON d.id = p.document
WHERE p.reader = ? AND p.term = 2 AND p.at > ?;

-- terms: The terms of kinds and labels at which an audience has documents, each found by one step through the index.
WITH RECURSIVE its (term) AS (
    VALUES (2)
    UNION ALL
    SELECT (SELECT p.term FROM place p WHERE p.reader = ?1 AND p.term > its.term ORDER BY p.term LIMIT 1)
    FROM its WHERE its.term IS NOT NULL
)
SELECT t.id, t.text FROM its CROSS JOIN term t ON t.id = its.term WHERE t.id > 2;

-- newest: Where the documents of an audience's term stand before a place and above an order, newest first.
SELECT at, document FROM place
WHERE reader = ? AND term = ? AND (at, document) < (?, ?) AND at > ? ORDER BY at DESC, document DESC LIMIT ?;

-- newest_documents: The same with the documents; what is read is what is wanted where there is no other term.
SELECT p.at, p.document, d.key, d.kind, d.revision, d.ord, d.audiences, d.body, d.private, d.labels, d.open_until,
    d.expires_at, d.due_at, d.gone_at IS NOT NULL
FROM place p CROSS JOIN document d ON d.id = p.document
WHERE p.reader = ? AND p.term = ? AND (p.at, p.document) < (?, ?) AND p.at > ?
ORDER BY p.at DESC, p.document DESC LIMIT ?;

-- oldest: Where the documents of an audience's term stand after a place and below an order, oldest first.
SELECT at, document FROM place
WHERE reader = ? AND term = ? AND (at, document) > (?, ?) AND at < ? ORDER BY at, document LIMIT ?;

-- by_ids: The documents of these numbers.
SELECT d.id, d.key, d.kind, d.revision, d.ord, d.audiences, d.body, d.private, d.labels, d.open_until, d.expires_at,
    d.due_at, d.gone_at IS NOT NULL
FROM json_each(?) j CROSS JOIN document d ON d.id = j.value;

-- audience: The number of an audience, and whether anything is covered for it.
SELECT
    (SELECT id FROM reader WHERE tenant = ?1 AND audience = ?2),
    EXISTS (SELECT 1 FROM cover WHERE tenant = ?1 AND audience = ?2);

-- covered: Whether a key is covered for an audience.
SELECT 1 FROM cover WHERE tenant = ? AND audience = ? AND covered = ?;

-- count: How many documents stand at an audience's term above the order of a document.
SELECT count(*) FROM place WHERE reader = ? AND term = ? AND at > coalesce(
    (SELECT ord FROM document WHERE tenant = ? AND key = ? AND gone_at IS NULL), 0);
