-- The embedded catalog, layout 2 (PRAGMA user_version). Times are nanoseconds, names ending in _s
-- are Unix seconds. Everything may be read with any SQLite tool while the catalog is in use.

CREATE TABLE tables (
    id       INTEGER PRIMARY KEY,
    database TEXT NOT NULL,
    name     TEXT NOT NULL,
    UNIQUE (database, name)
);

-- Kept in the order of time: the files of an hour lie side by side, and registering one writes one
-- page for the row and its place in time. A file that overlaps [after, before] and is shorter than
-- 2^span begins within (after - 2^span, before]: a short range for each span that occurs.
CREATE TABLE files (
    table_id   INTEGER NOT NULL REFERENCES tables (id),
    span       INTEGER NOT NULL,  -- max_time - min_time < 2^span, for the smallest such span
    min_time   INTEGER NOT NULL,
    dir        TEXT    NOT NULL,  -- a path is dir/name; '' for a file without a folder
    name       TEXT    NOT NULL,
    max_time   INTEGER NOT NULL,
    size_bytes INTEGER NOT NULL,
    row_count  INTEGER NOT NULL,
    chunk_time INTEGER NOT NULL,
    layer      TEXT    NOT NULL,
    writer_id  TEXT    NOT NULL,
    min_data   TEXT,              -- JSON, NULL when nothing is known
    max_data   TEXT,
    PRIMARY KEY (table_id, span, min_time, dir, name)
) WITHOUT ROWID;

-- Also which folders there are: one step for each.
CREATE UNIQUE INDEX files_path ON files (table_id, dir, name);

CREATE TABLE plans (
    seq          INTEGER PRIMARY KEY,
    table_id     INTEGER NOT NULL REFERENCES tables (id),
    kind         TEXT    NOT NULL CHECK (kind IN ('merge', 'move', 'drop')),
    layer        TEXT    NOT NULL,
    writer_id    TEXT    NOT NULL,
    iteration    INTEGER NOT NULL DEFAULT 0,  -- of a merge
    dir          TEXT    NOT NULL DEFAULT '', -- of a merge
    leased       INTEGER NOT NULL DEFAULT 0,
    position     INTEGER NOT NULL,            -- order within the queue
    due_s        INTEGER NOT NULL,            -- waiting: from when; leased: until when
    id           TEXT    NOT NULL,
    path         TEXT    NOT NULL DEFAULT '', -- what a move or a drop is about
    path_to      TEXT    NOT NULL DEFAULT '',
    layer_to     TEXT    NOT NULL DEFAULT '',
    waited_s     INTEGER NOT NULL DEFAULT 0,  -- due_s before the plan was first handed out
    used_leases  TEXT    NOT NULL DEFAULT '[]', -- JSON: seconds that leases given up ran to
    given_back   INTEGER NOT NULL DEFAULT 0,  -- leased to nobody: held back until due_s
    attempts     INTEGER NOT NULL DEFAULT 0,
    error        TEXT    NOT NULL DEFAULT ''
);

CREATE INDEX plans_queue
    ON plans (table_id, kind, layer, writer_id, iteration, dir, leased, position, due_s);
CREATE INDEX plans_drop ON plans (table_id, path) WHERE kind = 'drop';
-- What may become due behind the head of its queue. Moves that wait may not, and are many.
CREATE INDEX plans_due ON plans (table_id, kind, layer, writer_id, iteration, due_s)
    WHERE kind = 'merge' OR leased = 1;

-- The files of merges, all in the plan's dir. A running total in place of a sum in `plans`, so that
-- adding a file to a plan writes one row.
CREATE TABLE plan_files (
    plan        INTEGER NOT NULL REFERENCES plans (seq),
    position    INTEGER NOT NULL,
    name        TEXT    NOT NULL,
    total_bytes INTEGER NOT NULL,  -- sizes of the plan's files up to this one
    PRIMARY KEY (plan, position)
) WITHOUT ROWID;

-- One new file that joins the last waiting plan of its queue, in one statement: what a service that
-- registers file after file does. Fails, and changes nothing, if the path is there or there is no
-- such plan with room for it.
CREATE VIEW arrivals AS SELECT *, 0 AS iteration, 0 AS max_size FROM files WHERE 0;

CREATE TRIGGER arrival INSTEAD OF INSERT ON arrivals BEGIN
    INSERT INTO plan_files (plan, position, name, total_bytes)
    SELECT plan, position + 1, NEW.name, total_bytes + NEW.size_bytes
    FROM (SELECT plan, position, total_bytes FROM plan_files
          WHERE plan = (SELECT seq FROM plans
                        WHERE table_id = NEW.table_id AND kind = 'merge' AND layer = NEW.layer
                          AND writer_id = NEW.writer_id AND iteration = NEW.iteration
                          AND dir = NEW.dir AND leased = 0
                        ORDER BY position DESC LIMIT 1)
          ORDER BY position DESC LIMIT 1)
    WHERE total_bytes <= NEW.max_size - NEW.size_bytes;
    SELECT raise(ABORT, 'no plan') WHERE changes() = 0;
    INSERT INTO files (size_bytes, min_time, max_time, layer, row_count, chunk_time, min_data,
                       max_data, writer_id, span, table_id, dir, name)
    VALUES (NEW.size_bytes, NEW.min_time, NEW.max_time, NEW.layer, NEW.row_count, NEW.chunk_time,
            NEW.min_data, NEW.max_data, NEW.writer_id, NEW.span, NEW.table_id, NEW.dir, NEW.name);
END;

-- Leases under which a plan was ended or completed, so that doing it again has no effect.
CREATE TABLE ended (
    table_id INTEGER NOT NULL,
    kind     TEXT    NOT NULL,
    id       TEXT    NOT NULL,
    lease_s  INTEGER NOT NULL,
    at_s     INTEGER NOT NULL,
    complete INTEGER NOT NULL,  -- 0: ended without registering a result
    PRIMARY KEY (table_id, kind, id, lease_s)
) WITHOUT ROWID;
CREATE INDEX ended_at ON ended (at_s);

CREATE TABLE kv (
    key   TEXT PRIMARY KEY,
    value BLOB NOT NULL
) WITHOUT ROWID;
