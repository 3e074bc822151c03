-- Every statement of the PostgreSQL engine. `-- name: sentence` begins one; what it promises is in engine.py.
--
-- Each read is ONE statement, and so one snapshot. Two names stand for text: `<at>` for the statement `at`, `<document>`
-- for the columns of a document. Plans are made once per connection and never by guesses about the data: each statement
-- names the one index that it may use, by writing that index's first column as schema.sql does (`tenant` alone is the
-- primary key), and every other column that has one as an expression (`d.readers || '{}'`, `coalesce(d.gone_at, 0)`).

-- version: Whether there is a store, and what kind of server this is. From the catalogue's rows: who waited for another
-- process to make the store would not see it through to_regclass, which remembers what it did not find.
SELECT EXISTS (
        SELECT FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
        WHERE n.nspname = 'milepost' AND c.relname = 'store'
    ), current_setting('server_version_num')::int,
    current_setting('server_encoding'), current_setting('synchronous_commit'), concat_ws(' and ',
        CASE current_setting('fsync') WHEN 'off' THEN 'fsync = off' END,
        CASE current_setting('full_page_writes') WHEN 'off' THEN 'full_page_writes = off' END);

-- store_version: The version of a store that is there.
SELECT version FROM milepost.store;

-- migrate_alone: One process at a time brings the store to its present version.
SELECT pg_advisory_xact_lock(7453010473);

-- add_store: The store's own row.
INSERT INTO milepost.store (version, secret) VALUES (%(version)b::int, %(secret)b::text)
ON CONFLICT (one) DO UPDATE SET version = excluded.version;

-- at: Where a tenant's history stands. Its epoch changes when one was drawn, with the tables (a dump was restored), and
-- with the timeline (a standby was promoted, or an older state restored). Asked of a standby this fails.
SELECT t.id, coalesce(t.head, 0) AS head, coalesce(t.floor, 0) AS floor,
    encode(substr(sha256(convert_to(concat_ws(' ',
        coalesce(t.epoch, s.secret || ' ' || %(tenant)b::text), s.tableoid, left(pg_walfile_name(pg_current_wal_lsn()), 8)
    ), 'UTF8')), 1, 6), 'hex') AS epoch
FROM milepost.store s LEFT JOIN milepost.tenant t ON t.name = %(tenant)b::text

-- document: The columns of a document.
d.key, d.kind, d.revision, d.ord, d.readers, d.body, d.private, d.labels, d.open_until, d.expires_at, d.due_at,
    d.gone_at IS NOT NULL

-- heads: Where the histories of several tenants stand, in their order.
SELECT encode(substr(sha256(convert_to(concat_ws(' ',
        coalesce(t.epoch, s.secret || ' ' || asked.name), s.tableoid, left(pg_walfile_name(pg_current_wal_lsn()), 8)
    ), 'UTF8')), 1, 6), 'hex'), coalesce(t.head, 0)
FROM milepost.store s CROSS JOIN unnest(%(tenants)b::text[]) WITH ORDINALITY AS asked (name, place)
    LEFT JOIN milepost.tenant t ON t.name = asked.name
ORDER BY asked.place;

-- get: Documents by their keys.
SELECT <document> FROM milepost.tenant t JOIN milepost.document d ON d.tenant = t.id
WHERE t.name = %(tenant)b::text AND d.key = ANY (%(keys)b::text[]) AND coalesce(d.gone_at, 0) = 0;

-- after_all: What the whole tenant has after a cursor, oldest first.
WITH at AS MATERIALIZED (<at>)
SELECT at.epoch, at.head, at.floor, found.* FROM at LEFT JOIN LATERAL (
    SELECT <document> FROM milepost.document d
    WHERE d.tenant + 0 = at.id AND d.revision > %(after)b::bigint
        AND at.epoch = %(epoch)b::text AND at.floor <= %(after)b::bigint
    ORDER BY d.revision LIMIT %(limit)b::bigint
) found ON true;

-- after_near: What some audiences have after a cursor that is close to the head, along the tenant's history.
WITH at AS MATERIALIZED (<at>)
SELECT at.epoch, at.head, at.floor, found.* FROM at LEFT JOIN LATERAL (
    SELECT <document> FROM milepost.document d
    WHERE d.tenant + 0 = at.id AND d.revision > %(after)b::bigint AND (d.readers || '{}') && %(readers)b::text[]
        AND at.epoch = %(epoch)b::text AND at.floor <= %(after)b::bigint
    ORDER BY d.revision LIMIT %(limit)b::bigint
) found ON true;

-- after_far: The same, however far back the cursor is, along the documents of these audiences.
WITH at AS MATERIALIZED (<at>)
SELECT at.epoch, at.head, at.floor, found.* FROM at LEFT JOIN LATERAL (
    SELECT <document> FROM milepost.document d
    WHERE d.readers && %(readers)b::text[] AND d.tenant + 0 + 0 = at.id AND d.revision + 0 > %(after)b::bigint
        AND at.epoch = %(epoch)b::text AND at.floor <= %(after)b::bigint
    ORDER BY d.revision + 0 LIMIT %(limit)b::bigint
) found ON true;

-- keys_after: The documents under these keys, and what of them left, after a cursor.
WITH at AS MATERIALIZED (<at>)
SELECT at.epoch, at.head, at.floor, found.* FROM at LEFT JOIN LATERAL (
    SELECT <document> FROM unnest(%(keys)b::text[]) AS asked (key) CROSS JOIN LATERAL (
        SELECT * FROM milepost.document WHERE tenant = at.id AND key = asked.key
        UNION ALL  -- '"' follows '!'
        SELECT * FROM milepost.document WHERE tenant = at.id AND key >= asked.key || '!' AND key < asked.key || '"'
    ) d
    WHERE d.revision > %(after)b::bigint AND (%(all)b::bool OR d.readers && %(readers)b::text[])
        AND at.epoch = %(epoch)b::text AND at.floor <= %(after)b::bigint
) found ON true;

-- keys_now: The documents under these keys that are not gone or covered.
WITH at AS MATERIALIZED (<at>)
SELECT at.epoch, at.head, at.floor, found.* FROM at LEFT JOIN LATERAL (
    SELECT <document> FROM milepost.document d
    WHERE d.tenant = at.id AND d.key = ANY (%(keys)b::text[]) AND coalesce(d.gone_at, 0) = 0
        AND (%(all)b::bool OR (d.readers || '{}') && %(readers)b::text[]) AND NOT <covered>
) found ON true;

-- covered: Whether a document is covered for readers of these audiences.
EXISTS (
    SELECT FROM unnest(%(audiences)b::text[]) AS reader (audience)
        JOIN milepost.document c ON c.tenant = d.tenant AND c.key = d.key || '@' || reader.audience
    WHERE coalesce(c.gone_at, 0) = 0
)

-- snapshot: What some audiences have open, and their newest recent others.
WITH at AS MATERIALIZED (<at>)
SELECT at.epoch, at.head, at.floor, found.* FROM at LEFT JOIN LATERAL (
    SELECT <document> FROM milepost.document d
    WHERE d.readers && %(readers)b::text[] AND d.tenant + 0 + 0 = at.id
        AND coalesce(d.gone_at, 0) = 0 AND d.open_until + 0 > %(now)b::float8 AND NOT <covered>
    UNION ALL (
        SELECT <document> FROM (
            SELECT * FROM milepost.document d
            WHERE d.readers && %(readers)b::text[] AND d.tenant + 0 + 0 = at.id
                AND coalesce(d.gone_at, 0) = 0 AND d.open_until + 0 <= %(now)b::float8 AND (d.labels || '{}') @> '{recent}'
            ORDER BY d.ord + 0 DESC
        ) d WHERE NOT <covered> LIMIT %(recent)b::bigint
    )
) found ON true;

-- snapshot_all: What the whole tenant has open, and its newest recent others.
WITH at AS MATERIALIZED (<at>)
SELECT at.epoch, at.head, at.floor, found.* FROM at LEFT JOIN LATERAL (
    SELECT <document> FROM milepost.document d
    WHERE d.tenant * 1 = at.id AND coalesce(d.gone_at, 0) = 0 AND d.open_until > %(now)b::float8 AND d.open_until > 0
    UNION ALL (
        SELECT <document> FROM milepost.document d
        WHERE d.tenant / 1 = at.id AND coalesce(d.gone_at, 0) = 0 AND d.open_until + 0 <= %(now)b::float8
            AND d.labels @> '{recent}'
        ORDER BY d.ord DESC LIMIT %(recent)b::bigint
    )
) found ON true;

-- find: Documents of a kind with all of these labels, by order, that some audiences see.
WITH at AS MATERIALIZED (<at>)
SELECT at.epoch, at.head, at.floor, found.* FROM at LEFT JOIN LATERAL (
    SELECT <document> FROM (
        SELECT * FROM milepost.document d
        WHERE d.readers && %(readers)b::text[] AND d.tenant + 0 + 0 = at.id AND coalesce(d.gone_at, 0) = 0
            AND d.kind || '' = %(kind)b::text AND (d.labels || '{}') @> %(labels)b::text[]
            AND d.ord + 0 > %(above)b::bigint AND d.ord + 0 < %(below)b::bigint
        ORDER BY d.ord * %(way)b::bigint
    ) d WHERE NOT <covered> LIMIT %(limit)b::bigint
) found ON true;

-- newest: The same of the whole tenant, newest first.
WITH at AS MATERIALIZED (<at>)
SELECT at.epoch, at.head, at.floor, found.* FROM at LEFT JOIN LATERAL (
    SELECT <document> FROM milepost.document d
    WHERE d.tenant - 0 = at.id AND d.gone_at IS NULL AND d.kind = %(kind)b::text
        AND (d.labels || '{}') @> %(labels)b::text[]
        AND d.ord > %(above)b::bigint AND d.ord < %(below)b::bigint
    ORDER BY d.ord DESC LIMIT %(limit)b::bigint
) found ON true;

-- oldest: The same of the whole tenant, oldest first.
WITH at AS MATERIALIZED (<at>)
SELECT at.epoch, at.head, at.floor, found.* FROM at LEFT JOIN LATERAL (
    SELECT <document> FROM milepost.document d
    WHERE d.tenant - 0 = at.id AND d.gone_at IS NULL AND d.kind = %(kind)b::text
        AND (d.labels || '{}') @> %(labels)b::text[]
        AND d.ord > %(above)b::bigint AND d.ord < %(below)b::bigint
    ORDER BY d.ord LIMIT %(limit)b::bigint
) found ON true;

-- count: How many documents of an audience carry a label above the order of a document, for each question.
WITH at AS MATERIALIZED (<at>)
SELECT at.epoch, at.head, answer.value FROM at LEFT JOIN LATERAL (
    SELECT asked.place, (
        SELECT count(*) FROM milepost.document d
        WHERE d.readers && ARRAY[asked.reader] AND d.tenant + 0 + 0 = at.id AND coalesce(d.gone_at, 0) = 0
            AND (d.labels || '{}') @> ARRAY[asked.label] AND d.ord + 0 > coalesce((
                SELECT mark.ord FROM milepost.document mark
                WHERE mark.tenant = at.id AND mark.key = asked.above AND coalesce(mark.gone_at, 0) = 0
            ), 0)
    ) AS value
    FROM unnest(%(readers)b::text[], %(labels)b::text[], %(above)b::text[])
        WITH ORDINALITY AS asked (reader, label, above, place)
) answer ON true
ORDER BY answer.place;

-- due: Documents of any tenant that something must happen to, soonest first.
SELECT t.name, <document> FROM milepost.document d JOIN milepost.tenant t ON t.id = d.tenant
WHERE d.due_at <= %(now)b::float8 ORDER BY d.due_at LIMIT %(limit)b::bigint;

-- lock: The heads that a group moves, in one order for everybody, so that no two wait for each other.
SELECT t.name, t.id, t.head FROM milepost.tenant t WHERE t.name = ANY (%(tenants)b::text[]) ORDER BY t.id FOR UPDATE;

-- add_tenants: A tenant's first commit gives it a row.
INSERT INTO milepost.tenant (name) SELECT unnest(%(tenants)b::text[]) ON CONFLICT (name) DO NOTHING;

-- stored: What a group must know of the documents that it is about to replace.
SELECT asked.tenant, d.key, d.kind, d.revision, d.ord, d.readers, d.gone_at IS NOT NULL
FROM unnest(%(tenants)b::text[], %(keys)b::text[]) AS asked (tenant, key)
    JOIN milepost.tenant t ON t.name = asked.tenant
    CROSS JOIN LATERAL (  -- OFFSET 0: looked up for each key, by both columns of the primary key
        SELECT * FROM milepost.document WHERE tenant = t.id AND key = asked.key OFFSET 0
    ) d;

-- put: The documents of a group.
INSERT INTO milepost.document (
    tenant, key, kind, revision, ord, readers, labels, open_until, expires_at, due_at, gone_at, body, private
)
SELECT n.tenant, n.key, n.kind, n.revision, n.ord, n.readers::text[], n.labels::text[], n.open_until, n.expires_at,
    n.due_at, n.gone_at, n.body, n.private
FROM unnest(
    %(tenant)b::int[], %(key)b::text[], %(kind)b::text[], %(revision)b::bigint[], %(ord)b::bigint[],
    %(readers)b::text[], %(labels)b::text[], %(open_until)b::float8[], %(expires_at)b::float8[],
    %(due_at)b::float8[], %(gone_at)b::float8[], %(body)b::bytea[], %(private)b::bytea[]
) AS n (tenant, key, kind, revision, ord, readers, labels, open_until, expires_at, due_at, gone_at, body, private)
ON CONFLICT (tenant, key) DO UPDATE SET kind = excluded.kind, revision = excluded.revision, ord = excluded.ord,
    readers = excluded.readers, labels = excluded.labels, open_until = excluded.open_until,
    expires_at = excluded.expires_at, due_at = excluded.due_at, gone_at = excluded.gone_at, body = excluded.body,
    private = excluded.private;

-- touch: Due times move without a revision.
UPDATE milepost.document d SET due_at = n.due_at
FROM unnest(%(tenant)b::int[], %(key)b::text[], %(due_at)b::float8[]) AS n (tenant, key, due_at)
WHERE d.tenant = n.tenant AND d.key = n.key;

-- grow: A group moves its heads.
UPDATE milepost.tenant t SET head = n.head
FROM unnest(%(ids)b::int[], %(heads)b::bigint[]) AS n (id, head) WHERE t.id = n.id;

-- notify: Everybody who listens hears, after the commit, that something grew; what it was they read.
SELECT pg_notify('milepost', '');

-- relay_alone: One hub at a time empties the outbox, so that its rows keep their order.
SELECT pg_try_advisory_xact_lock(7453010474);

-- outbox: What applications have committed, oldest first.
SELECT id, tenant, writes FROM milepost.outbox ORDER BY id LIMIT %(limit)b::bigint FOR UPDATE SKIP LOCKED;

-- moved: What now has revisions leaves the outbox, in the same transaction.
DELETE FROM milepost.outbox WHERE id = ANY (%(ids)b::bigint[]);

-- draw_epoch: A cursor ahead of the head proved that the history was rewritten.
INSERT INTO milepost.tenant AS t (name, epoch, drawn_at)
VALUES (%(tenant)b::text, %(epoch)b::text, %(now)b::float8)
ON CONFLICT (name) DO UPDATE SET epoch = excluded.epoch, drawn_at = excluded.drawn_at
WHERE abs(excluded.drawn_at - t.drawn_at) >= %(seconds)b::float8
RETURNING pg_notify('milepost', '');

-- lock_all: Every head.
SELECT id FROM milepost.tenant ORDER BY id FOR UPDATE;

-- renew_store: A new epoch for tenants that never drew one …
UPDATE milepost.store SET secret = %(secret)b::text;

-- renew_tenants: … and for those that did.
UPDATE milepost.tenant SET epoch = NULL WHERE epoch IS NOT NULL;

-- expired: Documents whose time is over, soonest first.
SELECT t.name, d.key, d.kind, d.revision FROM milepost.document d JOIN milepost.tenant t ON t.id = d.tenant
WHERE d.expires_at <= %(now)b::float8 ORDER BY d.expires_at, d.tenant, d.ord LIMIT %(limit)b::bigint;

-- lock_gone: The heads of tenants that have documents to drop.
SELECT id FROM milepost.tenant WHERE id IN (
    SELECT g.tenant FROM (
        SELECT tenant FROM milepost.document WHERE gone_at <= %(before)b::float8
        ORDER BY gone_at LIMIT %(limit)b::bigint
    ) g
) ORDER BY id FOR UPDATE;

-- drop: Documents that have been gone for long enough, and the floors that rise with them.
WITH dropped AS (
    DELETE FROM milepost.document d USING (
        SELECT tenant, key FROM milepost.document
        WHERE gone_at <= %(before)b::float8 AND tenant = ANY (%(ids)b::int[])
        ORDER BY gone_at LIMIT %(limit)b::bigint
    ) g WHERE d.tenant = g.tenant AND d.key = g.key
    RETURNING d.tenant, d.revision
), risen AS (
    UPDATE milepost.tenant t SET floor = greatest(t.floor, m.revision)
    FROM (SELECT tenant, max(revision) AS revision FROM dropped GROUP BY tenant) m WHERE t.id = m.tenant
)
SELECT count(*) FROM dropped;

-- probe: A write that means nothing, to see whether the store takes one.
UPDATE milepost.store SET probed = NOT probed;

-- look: Where every tenant stands, and whether the outbox holds something.
SELECT s.secret, EXISTS (SELECT FROM milepost.outbox), t.name, t.head, t.epoch
FROM milepost.store s LEFT JOIN LATERAL (
    SELECT name, head, epoch FROM milepost.tenant ORDER BY id LIMIT %(limit)b::bigint
) t ON true;
