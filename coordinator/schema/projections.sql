-- Projections: what the entries' events come to, as rows. Written in the same transaction as the entry, from its events
-- alone; dropped and made again by `loom doctor --rebuild`, with the same rows as a result.
--
-- Keys are integers: task.id = seq of the task's first entry; every other row that an event makes has
-- id = seq * 10000 + place of the event in its entry; attempt.id = spawn.id * 100000 + number of the attempt.
-- Texts are JSON as in the entries: {"value": …} inline, {"blob": …, "size": …} by reference; NULL: none.
-- Money is in micro-units, time in ms UTC.

CREATE TABLE home (
    id          INTEGER PRIMARY KEY CHECK (id = 0),
    origin      TEXT NOT NULL,
    log_key     TEXT NOT NULL,
    schema      INTEGER NOT NULL,
    epoch       INTEGER NOT NULL,
    version     TEXT NOT NULL,
    boot        TEXT NOT NULL,
    started_ms  INTEGER NOT NULL
) STRICT;

-- What changes with each tick; narrow, because it is written with each tick. `n` is compared and set.
CREATE TABLE task (
    id          INTEGER PRIMARY KEY,
    task        TEXT NOT NULL UNIQUE,
    project     TEXT NOT NULL,
    status      TEXT NOT NULL CHECK (status IN ('open', 'done')),
    verdict     TEXT NOT NULL CHECK (verdict IN ('', 'accepted', 'answered', 'abandoned', 'cancelled', 'failed')),
    paused      INTEGER NOT NULL,
    parked      TEXT NOT NULL,
    flow        TEXT NOT NULL,
    stage       TEXT NOT NULL,
    iteration   INTEGER NOT NULL,
    entered     INTEGER NOT NULL,             -- spawns of the present stage have ids from here on
    round       INTEGER NOT NULL,
    n           INTEGER NOT NULL,
    submitted_ms INTEGER NOT NULL,
    now_ms      INTEGER NOT NULL,
    priority    INTEGER NOT NULL,
    weight      INTEGER NOT NULL,
    attempts    INTEGER NOT NULL,
    tokens      INTEGER NOT NULL,
    cost        INTEGER NOT NULL,
    unpriced    INTEGER NOT NULL,
    reserved    INTEGER NOT NULL,
    reserved_tokens INTEGER NOT NULL DEFAULT 0,
    facts       TEXT NOT NULL,
    delivered   TEXT NOT NULL
) STRICT;

CREATE INDEX task_open ON task (project) WHERE status = 'open';

-- What was asked: the whole specification, and caps as a person may have raised them.
CREATE TABLE submission (
    task        INTEGER PRIMARY KEY,
    spec        TEXT NOT NULL CHECK (json_valid(spec)),
    subject     TEXT NOT NULL,
    caps        TEXT NOT NULL CHECK (json_valid(caps))
) STRICT;

-- One run of one agent at one stage and iteration. While an attempt runs, the row says where.
CREATE TABLE spawn (
    id          INTEGER PRIMARY KEY,
    task        INTEGER NOT NULL,
    spawn       TEXT NOT NULL,
    agent       TEXT NOT NULL,
    stage       TEXT NOT NULL,
    iteration   INTEGER NOT NULL,
    status      TEXT NOT NULL CHECK (            -- IN would fill a table of its own at each write: twice the cost
        status = 'ready' OR status = 'granted' OR status = 'settled' OR status = 'stopped' OR status = 'failed'
        OR status = 'waived' OR status = 'skipped' OR status = 'dropped'),
    chain       TEXT NOT NULL,
    attempt     INTEGER NOT NULL,
    not_before_ms INTEGER NOT NULL,
    binding     INTEGER NOT NULL,
    why         TEXT NOT NULL,
    fence       INTEGER NOT NULL,
    worker      TEXT NOT NULL,
    boot        TEXT NOT NULL,
    price       TEXT NOT NULL,
    reserved    INTEGER NOT NULL,
    bound       TEXT NOT NULL,
    granted_ms  INTEGER NOT NULL,
    outcome     TEXT NOT NULL,
    summary     TEXT
) STRICT;

CREATE INDEX spawn_task ON spawn (task);

-- One row an ended attempt. `execution` is what the worker says of where and how it ran.
CREATE TABLE attempt (
    id          INTEGER PRIMARY KEY,
    spawn       INTEGER NOT NULL,
    number      INTEGER NOT NULL,
    fence       INTEGER NOT NULL,
    end         TEXT NOT NULL,
    error_class TEXT NOT NULL,
    message     TEXT,
    binding     INTEGER NOT NULL,
    bound       TEXT NOT NULL,
    worker      TEXT NOT NULL,
    boot        TEXT NOT NULL,
    granted_ms  INTEGER NOT NULL,
    ended_ms    INTEGER NOT NULL,
    input_tokens INTEGER NOT NULL,
    output_tokens INTEGER NOT NULL,
    cached_tokens INTEGER NOT NULL,
    calls       INTEGER NOT NULL,
    cost        INTEGER,
    price       TEXT NOT NULL,
    reserved    INTEGER NOT NULL,
    counted     INTEGER NOT NULL,
    repaired    INTEGER NOT NULL,
    execution   TEXT NOT NULL,
    prompt      TEXT,
    transcript  TEXT,
    output      TEXT
) STRICT;

CREATE TABLE finding (
    id          INTEGER PRIMARY KEY,
    task        INTEGER NOT NULL,
    finding     TEXT NOT NULL,
    agent       TEXT NOT NULL,
    spawn       TEXT NOT NULL,
    round       INTEGER NOT NULL,
    subject     TEXT NOT NULL,
    severity    TEXT NOT NULL CHECK (severity IN ('blocking', 'warn', 'info')),
    category    TEXT NOT NULL,
    path        TEXT NOT NULL,
    line        INTEGER NOT NULL,
    side        TEXT NOT NULL,
    message     TEXT,
    evidence    TEXT,
    suggestion  TEXT,
    identity    TEXT NOT NULL,
    stall_key   TEXT NOT NULL,
    origin      TEXT NOT NULL,
    status      TEXT NOT NULL CHECK (status IN ('open', 'fixed', 'accepted', 'dismissed', 'superseded')),
    accepted_by TEXT,
    reason      TEXT
) STRICT;

CREATE UNIQUE INDEX finding_task ON finding (task, finding);
CREATE INDEX finding_open ON finding (task) WHERE status = 'open';

CREATE TABLE evidence (
    id          INTEGER PRIMARY KEY,
    task        INTEGER NOT NULL,
    kind        TEXT NOT NULL,
    subject     TEXT NOT NULL,
    outcome     TEXT NOT NULL,
    by          TEXT NOT NULL,
    spawn       TEXT NOT NULL,
    summary     TEXT,
    output      TEXT
) STRICT;

CREATE INDEX evidence_task ON evidence (task);

CREATE TABLE artifact (
    id          INTEGER PRIMARY KEY,
    task        INTEGER NOT NULL,
    name        TEXT NOT NULL,
    version     INTEGER NOT NULL,
    spawn       TEXT NOT NULL,
    text        TEXT
) STRICT;

CREATE INDEX artifact_task ON artifact (task);

-- What there was to judge, one row each time that it changed; the last one is the present subject.
CREATE TABLE subject (
    id          INTEGER PRIMARY KEY,
    task        INTEGER NOT NULL,
    subject     TEXT NOT NULL,
    work        TEXT NOT NULL,
    change      TEXT NOT NULL,
    change_text TEXT,
    change_list TEXT,
    author      TEXT NOT NULL,
    spawn       TEXT NOT NULL
) STRICT;

CREATE INDEX subject_task ON subject (task);

CREATE TABLE gate (
    id          INTEGER PRIMARY KEY,
    task        INTEGER NOT NULL,
    gate        TEXT NOT NULL UNIQUE,
    role        TEXT NOT NULL,
    stage       TEXT NOT NULL,
    status      TEXT NOT NULL CHECK (status IN ('open', 'decided', 'withdrawn')),
    answers     TEXT NOT NULL CHECK (json_valid(answers)),
    base        TEXT NOT NULL,
    subject     TEXT NOT NULL,
    change      TEXT NOT NULL,
    policy_digest TEXT NOT NULL,
    root        TEXT NOT NULL,
    reason      TEXT,
    rework      TEXT NOT NULL,
    shows       TEXT NOT NULL,
    because     TEXT NOT NULL,
    barred      TEXT NOT NULL,
    opened_ms   INTEGER NOT NULL,
    due_ms      INTEGER NOT NULL,
    closed_ms   INTEGER
) STRICT;

CREATE INDEX gate_task ON gate (task);
CREATE INDEX gate_open ON gate (task) WHERE status = 'open';

CREATE TABLE decision (
    id          INTEGER PRIMARY KEY,
    task        INTEGER NOT NULL,
    gate        TEXT NOT NULL,
    role        TEXT NOT NULL,
    stage       TEXT NOT NULL,
    word        TEXT NOT NULL,
    by          TEXT NOT NULL CHECK (json_extract(by, '$.id') <> ''),
    message     TEXT,
    base        TEXT NOT NULL,
    subject     TEXT NOT NULL,
    change      TEXT NOT NULL,
    policy_digest TEXT NOT NULL,
    root        TEXT NOT NULL,
    accepts     TEXT NOT NULL CHECK (json_valid(accepts)),
    because     TEXT NOT NULL,
    now_ms      INTEGER NOT NULL
) STRICT;

CREATE INDEX decision_task ON decision (task);

-- The cryptographic approval beside a decision; same id.
CREATE TABLE approval (
    id          INTEGER PRIMARY KEY,
    task        INTEGER NOT NULL,
    payload     TEXT NOT NULL,
    type        TEXT NOT NULL,
    scheme      TEXT NOT NULL,
    parts       TEXT NOT NULL
) STRICT;

CREATE TABLE objection (
    id          INTEGER PRIMARY KEY,
    task        INTEGER NOT NULL,
    rule        TEXT NOT NULL,
    sentence    TEXT NOT NULL,
    remedies    TEXT NOT NULL,
    because     TEXT NOT NULL,
    now_ms      INTEGER NOT NULL
) STRICT;

CREATE INDEX objection_task ON objection (task);

CREATE TABLE wake (
    task        INTEGER NOT NULL,
    name        TEXT NOT NULL,
    due_ms      INTEGER NOT NULL,
    PRIMARY KEY (task, name)
) STRICT, WITHOUT ROWID;

CREATE INDEX wake_due ON wake (due_ms);

CREATE TABLE project (
    project     TEXT PRIMARY KEY,
    name        TEXT NOT NULL,
    place       TEXT NOT NULL,
    kind        TEXT NOT NULL,
    trusted     TEXT NOT NULL,
    trusted_by  TEXT,
    content     TEXT,
    now_ms      INTEGER NOT NULL
) STRICT;

CREATE TABLE setting (
    name        TEXT PRIMARY KEY,
    value       TEXT NOT NULL,
    by          TEXT NOT NULL,
    now_ms      INTEGER NOT NULL
) STRICT;

CREATE TABLE bundle (
    digest      TEXT PRIMARY KEY,
    name        TEXT NOT NULL,
    archive     TEXT,
    now_ms      INTEGER NOT NULL
) STRICT;

CREATE TABLE principal (
    principal   TEXT PRIMARY KEY,
    kind        TEXT NOT NULL,
    via         TEXT NOT NULL,
    acting_for  TEXT NOT NULL,
    assurance   TEXT NOT NULL,
    labels      TEXT NOT NULL,
    now_ms      INTEGER NOT NULL
) STRICT;

-- Tokens by digest; the tokens themselves are nowhere.
CREATE TABLE token (
    digest      TEXT PRIMARY KEY,
    principal   TEXT NOT NULL,
    now_ms      INTEGER NOT NULL
) STRICT;

-- Who signs with which key: people with SSH keys, workers with keys of their own.
CREATE TABLE signer (
    key         TEXT PRIMARY KEY,
    principal   TEXT NOT NULL,
    kind        TEXT NOT NULL,
    by          TEXT NOT NULL,
    now_ms      INTEGER NOT NULL,
    revoked_ms  INTEGER
) STRICT;

CREATE TABLE worker (
    id          INTEGER PRIMARY KEY,
    worker      TEXT NOT NULL,
    key         TEXT NOT NULL,
    labels      TEXT NOT NULL,
    host        TEXT NOT NULL,
    invitation  TEXT NOT NULL,
    now_ms      INTEGER NOT NULL,
    revoked_ms  INTEGER,
    revoked_by  TEXT
) STRICT;

CREATE UNIQUE INDEX worker_enrolled ON worker (worker) WHERE revoked_ms IS NULL;

CREATE TABLE invitation (
    digest      TEXT PRIMARY KEY,
    labels      TEXT NOT NULL,
    expires_ms  INTEGER NOT NULL,
    by          TEXT NOT NULL,
    now_ms      INTEGER NOT NULL,
    worker      TEXT NOT NULL
) STRICT;

-- ------------------------------------------------------------------------------------------------ rules over rows

CREATE TRIGGER accepted_means_no_open_blocker BEFORE UPDATE OF verdict ON task
WHEN NEW.verdict = 'accepted' AND EXISTS
    (SELECT 1 FROM finding WHERE task = NEW.id AND status = 'open' AND severity = 'blocking') BEGIN
    SELECT RAISE(ABORT, 'a task with an open blocking finding cannot be accepted');
END;

CREATE TRIGGER accepted_means_no_open_blocker_at_insert BEFORE INSERT ON task
WHEN NEW.verdict = 'accepted' AND EXISTS
    (SELECT 1 FROM finding WHERE task = NEW.id AND status = 'open' AND severity = 'blocking') BEGIN
    SELECT RAISE(ABORT, 'a task with an open blocking finding cannot be accepted');
END;

CREATE TRIGGER verdict_is_final BEFORE UPDATE OF verdict ON task
WHEN OLD.verdict <> '' AND NEW.verdict <> OLD.verdict BEGIN
    SELECT RAISE(ABORT, 'a verdict is final');
END;

CREATE TRIGGER verdict_means_nothing_runs BEFORE UPDATE OF verdict ON task
WHEN OLD.verdict = '' AND NEW.verdict <> '' AND EXISTS
    (SELECT 1 FROM spawn WHERE task = NEW.id AND status = 'granted') BEGIN
    SELECT RAISE(ABORT, 'a task with a running attempt cannot get a verdict');
END;

CREATE TRIGGER done_means_verdict BEFORE UPDATE OF status ON task
WHEN NEW.status = 'done' AND NEW.verdict = '' BEGIN
    SELECT RAISE(ABORT, 'a task without a verdict cannot be done');
END;

CREATE TRIGGER decision_is_never_changed BEFORE UPDATE ON decision BEGIN
    SELECT RAISE(ABORT, 'a decision is never changed');
END;

-- ------------------------------------------------------------------------------------------------ views for people

-- Every tick, who asked for it and what happened.
CREATE VIEW audit_trail AS
SELECT entry.seq, strftime('%Y-%m-%d %H:%M:%f', entry.now_ms / 1000.0, 'unixepoch') AS at, task.task, entry.n,
    json_extract(entry.body, '$.command[0]') AS kind, json_extract(entry.body, '$.outcome') AS outcome,
    json_extract(entry.body, '$.principal.id') AS principal, json_extract(entry.body, '$.via') AS via,
    (SELECT group_concat(json_extract(event.value, '$[0]'), ' ') FROM json_each(entry.body, '$.events') AS event) AS events
FROM entry LEFT JOIN task ON task.id = entry.task
ORDER BY entry.seq;

CREATE VIEW open_gates AS
SELECT gate.gate, task.task, gate.role, gate.stage, gate.answers, gate.reason,
    strftime('%Y-%m-%d %H:%M:%f', gate.opened_ms / 1000.0, 'unixepoch') AS opened,
    strftime('%Y-%m-%d %H:%M:%f', gate.due_ms / 1000.0, 'unixepoch') AS due
FROM gate JOIN task ON task.id = gate.task WHERE gate.status = 'open'
ORDER BY gate.opened_ms, gate.id;

-- Cost in micro-units; unpriced: attempts whose price is unknown, which is not zero.
CREATE VIEW task_cost AS
SELECT task, project, status, verdict, attempts, tokens, cost, unpriced, reserved FROM task ORDER BY id;

-- Which agents ran, in order, and what each said.
CREATE VIEW agent_chain AS
SELECT task.task, spawn.stage, spawn.iteration, spawn.agent, spawn.status, spawn.outcome, attempt.number AS attempt,
    attempt.end, attempt.error_class, json_extract(attempt.execution, '$.served_by') AS served_by, attempt.worker,
    attempt.ended_ms - attempt.granted_ms AS took_ms, attempt.input_tokens, attempt.output_tokens, attempt.cost
FROM spawn JOIN task ON task.id = spawn.task
LEFT JOIN attempt ON attempt.id BETWEEN spawn.id * 100000 AND spawn.id * 100000 + 99999
ORDER BY spawn.id, attempt.number;

-- The agents' words, one row a settled spawn.
CREATE VIEW outcome AS
SELECT task.task, spawn.spawn, spawn.agent, spawn.outcome, spawn.summary
FROM spawn JOIN task ON task.id = spawn.task WHERE spawn.outcome <> '' ORDER BY spawn.id;

-- What every attempt consumed; cost NULL: unknown.
CREATE VIEW usage AS
SELECT spawn.spawn, attempt.number AS attempt, attempt.input_tokens, attempt.output_tokens, attempt.cached_tokens,
    attempt.calls, attempt.cost, attempt.price
FROM attempt JOIN spawn ON spawn.id = attempt.spawn ORDER BY attempt.id;

-- What running attempts hold of their tasks' budgets.
CREATE VIEW reservation AS
SELECT task.task, spawn.spawn, spawn.attempt, spawn.worker, spawn.reserved, spawn.bound
FROM spawn JOIN task ON task.id = spawn.task WHERE spawn.status = 'granted' ORDER BY spawn.id;
