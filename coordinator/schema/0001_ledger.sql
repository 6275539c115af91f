-- The ledger and what stands beside it: what no rebuild restores.
--
-- `entry` is the record: one row a tick, appended, never changed. Its body is one canonical JSON object, and its leaf is
-- SHA-256(0x00 || body); the leaves are those of an RFC 6962 tree, whose right edge is the one row of `edge` and whose
-- inner nodes from level 8 up (256 leaves and more) stand in `node`. Everything in projections.sql is derived from the
-- entries' events.
--
-- The triggers stop accidents and honest programs. Whoever can write this file can drop them; `loom doctor`, the
-- checkpoints and a witness show it.

CREATE TABLE entry (
    seq         INTEGER PRIMARY KEY,          -- place in the log, from 0, without a gap
    task        INTEGER,                      -- task.id = seq of the task's first entry; NULL: about the home
    n           INTEGER NOT NULL,             -- number within the task, from 1, without a gap
    now_ms      INTEGER NOT NULL,             -- the tick's time, ms UTC, never smaller than the one before
    key         TEXT,                         -- idempotency key; NULL: nobody sends this command twice
    body        TEXT NOT NULL,                -- the bytes that were hashed; kind, principal, via: see the view audit_trail
    leaf        BLOB NOT NULL
) STRICT;

CREATE UNIQUE INDEX entry_task ON entry (task, n);   -- NULLs differ: the entries of the home are not numbered here
CREATE UNIQUE INDEX entry_key ON entry (key) WHERE key IS NOT NULL;

CREATE TRIGGER entry_is_never_changed BEFORE UPDATE ON entry BEGIN
    SELECT RAISE(ABORT, 'an entry of the ledger is never changed');
END;

CREATE TRIGGER entry_is_never_deleted BEFORE DELETE ON entry BEGIN
    SELECT RAISE(ABORT, 'an entry of the ledger is never deleted');
END;

-- The right edge: hashes of the complete subtrees, largest first, hex.
CREATE TABLE edge (
    id          INTEGER PRIMARY KEY CHECK (id = 0),
    size        INTEGER NOT NULL,
    hashes      TEXT NOT NULL CHECK (json_valid(hashes))
) STRICT;

INSERT INTO edge VALUES (0, 0, '[]');

CREATE TRIGGER edge_only_grows BEFORE UPDATE ON edge WHEN NEW.size < OLD.size BEGIN
    SELECT RAISE(ABORT, 'the ledger never gets shorter');
END;

CREATE TABLE node (
    level       INTEGER NOT NULL CHECK (level >= 8),
    place       INTEGER NOT NULL,
    hash        BLOB NOT NULL,
    PRIMARY KEY (level, place)
) STRICT, WITHOUT ROWID;

-- Signed tree heads (C2SP tlog-checkpoint), by size.
CREATE TABLE checkpoint (
    size        INTEGER PRIMARY KEY,
    now_ms      INTEGER NOT NULL,
    note        TEXT NOT NULL
) STRICT;

-- Salted texts: id = SHA-256(salt || data). data NULL: a file blobs/ab/…; salt and data NULL: forgotten, the proof stands.
CREATE TABLE blob (
    place       INTEGER PRIMARY KEY,
    id          BLOB NOT NULL,
    size        INTEGER NOT NULL,
    salt        BLOB,
    data        BLOB
) STRICT;

CREATE UNIQUE INDEX blob_id ON blob (id);

-- Logs that no entry makes. Of denials the newest are kept.
CREATE TABLE denial (
    id          INTEGER PRIMARY KEY,
    now_ms      INTEGER NOT NULL,
    principal   TEXT NOT NULL,
    via         TEXT NOT NULL,
    task        TEXT NOT NULL,
    kind        TEXT NOT NULL,
    code        TEXT NOT NULL,
    sentence    TEXT NOT NULL,
    key         TEXT NOT NULL
) STRICT;

-- Results that came too late: kept, so that a person can take them.
CREATE TABLE orphan (
    id          INTEGER PRIMARY KEY,
    now_ms      INTEGER NOT NULL,
    task        TEXT NOT NULL,
    spawn       TEXT NOT NULL,
    attempt     INTEGER NOT NULL,
    fence       INTEGER NOT NULL,
    worker      TEXT NOT NULL,
    reason      TEXT NOT NULL,
    command     TEXT NOT NULL
) STRICT;

CREATE UNIQUE INDEX orphan_once ON orphan (spawn, attempt, fence, worker);   -- a report that is sent again is one
