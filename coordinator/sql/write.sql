-- What the writer says: the ledger first, then one statement a row of the projections. `?` in the order of the columns.
-- UPDATEs of task and spawn are put together in rows_tick.py, from the columns that a group changes.

-- :insert_entry
INSERT INTO entry (seq, task, n, now_ms, key, body, leaf) VALUES (?, ?, ?, ?, ?, ?, ?)

-- :update_edge
UPDATE edge SET size = ?, hashes = ? WHERE id = 0

-- :insert_node
INSERT INTO node (level, place, hash) VALUES (?, ?, ?)

-- :insert_checkpoint
INSERT INTO checkpoint (size, now_ms, note) VALUES (?, ?, ?) ON CONFLICT (size) DO UPDATE SET now_ms = excluded.now_ms, note = excluded.note

-- :insert_blob
INSERT INTO blob (id, size, salt, data) VALUES (?, ?, ?, ?) ON CONFLICT (id) DO NOTHING

-- :insert_denial
INSERT INTO denial (now_ms, principal, via, task, kind, code, sentence, key) VALUES (?, ?, ?, ?, ?, ?, ?, ?)

-- :trim_denials
DELETE FROM denial WHERE id <= (SELECT max(id) FROM denial) - ?

-- :insert_orphan
INSERT OR IGNORE INTO orphan (now_ms, task, spawn, attempt, fence, worker, reason, command) VALUES (?, ?, ?, ?, ?, ?, ?, ?)

-- :insert_task
INSERT INTO task (id, task, project, status, verdict, paused, parked, flow, stage, iteration, entered, round, n, submitted_ms, now_ms,
    priority, weight, attempts, tokens, cost, unpriced, reserved, facts, delivered)
VALUES (?, ?, ?, 'open', '', 0, '', ?, '', 0, 0, 1, 0, ?, ?, ?, ?, 0, 0, 0, 0, 0, '{}', '')

-- :insert_submission
INSERT INTO submission (task, spec, subject, caps) VALUES (?, ?, ?, ?)

-- :update_caps
UPDATE submission SET caps = json_patch(caps, ?) WHERE task = ?

-- :insert_spawn
INSERT INTO spawn (id, task, spawn, agent, stage, iteration, status, chain, attempt, not_before_ms, binding, why, fence,
    worker, boot, price, reserved, bound, granted_ms, outcome, summary)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)

-- :insert_attempt
INSERT INTO attempt (id, spawn, number, fence, end, error_class, message, binding, bound, worker, boot, granted_ms, ended_ms,
    input_tokens, output_tokens, cached_tokens, calls, cost, price, reserved, counted, repaired, execution, prompt,
    transcript, output)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)

-- :take_attempt: its late result was taken after all
UPDATE attempt SET end = 'taken', input_tokens = ?, output_tokens = ?, cached_tokens = ?, calls = ?, cost = ?, price = ?, repaired = ?,
    execution = ?, prompt = ?, transcript = ?, output = ? WHERE id = ?

-- :insert_finding
INSERT INTO finding (id, task, finding, agent, spawn, round, subject, severity, category, path, line, side, message,
    evidence, suggestion, identity, stall_key, origin, status, accepted_by, reason)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, NULL, ?)

-- :accept_finding
UPDATE finding SET status = 'accepted', accepted_by = ?, reason = ? WHERE task = ? AND finding = ?

-- :supersede_findings
UPDATE finding SET status = 'superseded' WHERE task = ? AND status = 'open'

-- :insert_evidence
INSERT INTO evidence (id, task, kind, subject, outcome, by, spawn, summary, output) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)

-- :insert_artifact
INSERT INTO artifact (id, task, name, version, spawn, text) VALUES (?, ?, ?, ?, ?, ?)

-- :insert_subject
INSERT INTO subject (id, task, subject, work, change, change_text, change_list, author, spawn)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)

-- :insert_gate
INSERT INTO gate (id, task, gate, role, stage, status, answers, base, subject, change, policy_digest, root, reason, rework,
    shows, because, barred, opened_ms, due_ms)
VALUES (?, ?, ?, ?, ?, 'open', ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)

-- :move_gate
UPDATE gate SET due_ms = ? WHERE gate = ? AND status = 'open'

-- :close_gate
UPDATE gate SET status = ?, closed_ms = ? WHERE gate = ? AND status = 'open'

-- :insert_decision
INSERT INTO decision (id, task, gate, role, stage, word, by, message, base, subject, change, policy_digest, root, accepts,
    because, now_ms)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)

-- :insert_approval
INSERT INTO approval (id, task, payload, type, scheme, parts) VALUES (?, ?, ?, ?, ?, ?)

-- :insert_objection
INSERT INTO objection (id, task, rule, sentence, remedies, because, now_ms) VALUES (?, ?, ?, ?, ?, ?, ?)

-- :set_wake
INSERT INTO wake (task, name, due_ms) VALUES (?, ?, ?) ON CONFLICT (task, name) DO UPDATE SET due_ms = excluded.due_ms

-- :clear_wake
DELETE FROM wake WHERE task = ? AND name = ?

-- :clear_wakes
DELETE FROM wake WHERE task = ?

-- :insert_home
INSERT INTO home (id, origin, log_key, schema, epoch, version, boot, started_ms) VALUES (0, ?, ?, ?, 0, '', '', 0)

-- :start_home
UPDATE home SET epoch = ?, version = ?, boot = ?, started_ms = ? WHERE id = 0

-- :set_log_key
UPDATE home SET log_key = ? WHERE id = 0

-- :set_origin
UPDATE home SET origin = ?, log_key = ? WHERE id = 0

-- :set_key
INSERT INTO signer (key, principal, kind, by, now_ms) VALUES (?, ?, ?, ?, ?)
ON CONFLICT (key) DO UPDATE SET principal = excluded.principal, kind = excluded.kind, by = excluded.by, now_ms = excluded.now_ms,
    revoked_ms = NULL

-- :revoke_key
UPDATE signer SET revoked_ms = ? WHERE key = ?

-- :set_project
INSERT INTO project (project, name, place, kind, trusted, now_ms) VALUES (?, ?, ?, ?, '', ?)
ON CONFLICT (project) DO UPDATE SET name = excluded.name, place = excluded.place, kind = excluded.kind, now_ms = excluded.now_ms

-- :trust_project
UPDATE project SET trusted = ?, trusted_by = ?, content = ?, now_ms = ? WHERE project = ?

-- :remove_project
DELETE FROM project WHERE project = ?

-- :set_setting
INSERT INTO setting (name, value, by, now_ms) VALUES (?, ?, ?, ?)
ON CONFLICT (name) DO UPDATE SET value = excluded.value, by = excluded.by, now_ms = excluded.now_ms

-- :unset_setting
DELETE FROM setting WHERE name = ?

-- :insert_bundle
INSERT INTO bundle (digest, name, archive, now_ms) VALUES (?, ?, ?, ?) ON CONFLICT (digest) DO NOTHING

-- :set_principal
INSERT INTO principal (principal, kind, via, acting_for, assurance, labels, now_ms) VALUES (?, ?, ?, ?, ?, ?, ?)
ON CONFLICT (principal) DO UPDATE SET kind = excluded.kind, via = excluded.via, acting_for = excluded.acting_for,
    assurance = excluded.assurance, labels = excluded.labels, now_ms = excluded.now_ms

-- :set_token
INSERT INTO token (digest, principal, now_ms) VALUES (?, ?, ?)
ON CONFLICT (digest) DO UPDATE SET principal = excluded.principal, now_ms = excluded.now_ms

-- :insert_worker
INSERT INTO worker (worker, key, labels, host, invitation, now_ms) VALUES (?, ?, ?, ?, ?, ?)

-- :revoke_worker
UPDATE worker SET revoked_ms = ?, revoked_by = ? WHERE worker = ? AND revoked_ms IS NULL

-- :insert_invitation
INSERT INTO invitation (digest, labels, expires_ms, by, now_ms, worker) VALUES (?, ?, ?, ?, ?, '')
ON CONFLICT (digest) DO UPDATE SET labels = excluded.labels, expires_ms = excluded.expires_ms, by = excluded.by,
    now_ms = excluded.now_ms, worker = ''

-- :use_invitation
UPDATE invitation SET worker = ? WHERE digest = ?

