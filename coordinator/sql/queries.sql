-- What readers ask, over a read-only connection. Columns are named as in the answers.

-- :tasks: newest first; a parameter that is NULL does not filter
SELECT task.id AS row, task.task AS id, task.project, task.status, task.verdict, task.paused, task.parked, task.flow, task.stage,
    task.iteration, task.round, task.n, task.submitted_ms, task.now_ms AS updated_ms, task.priority, task.attempts, task.tokens,
    task.cost, task.unpriced, task.reserved, task.facts, task.delivered,
    json_extract(submission.spec, '$.bundle') AS bundle, json_extract(submission.spec, '$.preset') AS preset,
    json_extract(submission.spec, '$.base') AS base, json_extract(submission.spec, '$.text') AS text,
    (SELECT gate.gate FROM gate WHERE gate.task = task.id AND gate.status = 'open') AS gate,
    (SELECT count(*) FROM spawn WHERE spawn.task = task.id AND spawn.id >= task.entered AND spawn.status = 'granted') AS running,
    (SELECT subject.work FROM subject WHERE subject.task = task.id ORDER BY subject.id DESC LIMIT 1) AS work
FROM task JOIN submission ON submission.task = task.id
WHERE (:task IS NULL OR task.task = :task) AND (:project IS NULL OR task.project = :project)
    AND (:status IS NULL OR task.status = :status) AND (:verdict IS NULL OR task.verdict = :verdict)
    AND (:before IS NULL OR task.id < (SELECT id FROM task WHERE task = :before))
ORDER BY task.id DESC LIMIT :limit

-- :starting_with: task ids by their beginning, for people who type the first characters
SELECT task FROM task WHERE task >= :prefix AND task < :prefix || '~' ORDER BY id LIMIT 20

-- :submission
SELECT spec, subject, caps FROM submission WHERE task = :row

-- :spawns
SELECT id AS row, spawn AS id, agent, stage, iteration, status, chain, attempt, not_before_ms, binding, why, fence, worker, boot,
    price, reserved, bound, granted_ms, outcome, summary
FROM spawn WHERE task = :row ORDER BY spawn.id

-- :attempts
SELECT attempt.spawn, attempt.number, attempt.fence, attempt.end, attempt.error_class, attempt.message, attempt.binding,
    attempt.bound, attempt.worker, attempt.boot, attempt.granted_ms, attempt.ended_ms, attempt.input_tokens,
    attempt.output_tokens, attempt.cached_tokens, attempt.calls, attempt.cost, attempt.price, attempt.reserved,
    attempt.counted, attempt.repaired, attempt.execution, attempt.prompt, attempt.output, attempt.transcript
FROM spawn JOIN attempt ON attempt.id BETWEEN spawn.id * 100000 AND spawn.id * 100000 + 99999
WHERE spawn.task = :row ORDER BY attempt.id

-- :findings
SELECT finding AS id, agent, spawn, round, subject, severity, category, path, line, side, message, evidence, suggestion,
    identity, stall_key, origin, status, accepted_by, reason
FROM finding WHERE task = :row ORDER BY finding.id

-- :gates: a parameter that is NULL does not filter
SELECT gate.gate AS id, task.task, task.project, gate.role, gate.stage, gate.status, gate.answers, gate.base, gate.subject,
    gate.change, gate.policy_digest, gate.root, gate.reason, gate.rework, gate.shows, gate.because, gate.barred, gate.opened_ms,
    gate.due_ms, gate.closed_ms, task.id AS row
FROM gate JOIN task ON task.id = gate.task
WHERE (:status IS NULL OR gate.status = :status) AND (:task IS NULL OR task.task = :task) AND (:gate IS NULL OR gate.gate = :gate)
ORDER BY gate.id

-- :blockers
SELECT finding AS id, agent, category, path, line, message FROM finding
WHERE task = :row AND status = 'open' AND severity = 'blocking' ORDER BY finding.id

-- :decisions
SELECT decision.gate, decision.role, decision.stage, decision.word, decision.by, decision.message, decision.base,
    decision.subject, decision.change, decision.policy_digest, decision.root, decision.accepts, decision.because,
    decision.now_ms, approval.payload, approval.type, approval.scheme, approval.parts
FROM decision LEFT JOIN approval ON approval.id = decision.id WHERE decision.task = :row ORDER BY decision.id

-- :evidence
SELECT kind, subject, outcome, by, spawn, summary, output FROM evidence WHERE task = :row ORDER BY id

-- :artifacts
SELECT name, version, spawn, text FROM artifact WHERE task = :row ORDER BY id

-- :objections
SELECT rule, sentence, remedies, because, now_ms FROM objection WHERE task = :row ORDER BY id

-- :subjects
SELECT subject, work, change, author, spawn FROM subject WHERE task = :row ORDER BY id

-- :change
SELECT subject.subject, subject.work, subject.change, subject.change_text, subject.change_list
FROM subject WHERE task = :row ORDER BY id DESC LIMIT 1

-- :entries
SELECT entry.seq, entry.body FROM entry WHERE entry.seq >= :since AND (:row IS NULL OR entry.task = :row)
ORDER BY entry.seq LIMIT :limit

-- :task_entries: by the task's own index
SELECT seq, body FROM entry INDEXED BY entry_task WHERE task = :row AND seq >= :since ORDER BY n LIMIT :limit

-- :head
SELECT size FROM edge

-- :home
SELECT origin, log_key, schema, epoch, version, boot, started_ms FROM home

-- :projects
SELECT project AS id, name, place, kind, trusted, trusted_by, content,
    (SELECT count(*) FROM task WHERE task.project = project.project AND task.status = 'open') AS open_tasks
FROM project ORDER BY name, project

-- :token
SELECT principal FROM token WHERE digest = :digest

-- :people
SELECT principal AS user, labels AS role, now_ms FROM principal WHERE kind = 'person' ORDER BY principal

-- :signers
SELECT key, principal, kind, now_ms, revoked_ms FROM signer ORDER BY now_ms, key

-- :settings
SELECT name, value FROM setting ORDER BY name

-- :bundles
SELECT digest, name, archive, now_ms FROM bundle ORDER BY now_ms, digest

-- :cost: by agent and by what served it
SELECT task.task, spawn.agent, json_extract(attempt.execution, '$.served_by') AS served_by, count(*) AS attempts,
    sum(attempt.input_tokens) AS input_tokens, sum(attempt.output_tokens) AS output_tokens,
    sum(attempt.cached_tokens) AS cached_tokens, sum(attempt.calls) AS calls, sum(attempt.cost) AS cost,
    sum(attempt.calls > 0 AND attempt.cost IS NULL) AS unpriced
FROM task JOIN spawn ON spawn.task = task.id
JOIN attempt ON attempt.id BETWEEN spawn.id * 100000 AND spawn.id * 100000 + 99999
WHERE (:task IS NULL OR task.task = :task)
GROUP BY task.id, spawn.agent, served_by ORDER BY task.id, spawn.agent

-- :counts
SELECT (SELECT count(*) FROM task) AS tasks, (SELECT count(*) FROM task WHERE status = 'open') AS open_tasks,
    (SELECT count(*) FROM task JOIN spawn ON spawn.task = task.id AND spawn.id >= task.entered
        WHERE task.status = 'open' AND spawn.status = 'granted') AS running,
    (SELECT count(*) FROM task JOIN spawn ON spawn.task = task.id AND spawn.id >= task.entered
        WHERE task.status = 'open' AND spawn.status = 'ready') AS ready,
    (SELECT count(*) FROM gate WHERE status = 'open') AS open_gates

-- :denials
SELECT now_ms, principal, via, task, kind, code, sentence, key FROM denial ORDER BY id DESC LIMIT :limit

-- :late: the late results of a task, and how their attempts stand on record
SELECT orphan.id, orphan.now_ms, orphan.spawn, orphan.attempt, orphan.fence, orphan.worker, orphan.reason,
    spawn.status AS spawn_status, attempt.end, coalesce(attempt.worker, '') AS given_to
FROM orphan LEFT JOIN spawn ON spawn.task = :row AND spawn.spawn = orphan.spawn
LEFT JOIN attempt ON attempt.id = spawn.id * 100000 + orphan.attempt AND attempt.fence = orphan.fence
WHERE orphan.task = :task ORDER BY orphan.id

-- :orphans
SELECT id, now_ms, task, spawn, attempt, fence, worker, reason FROM orphan ORDER BY id DESC LIMIT :limit

-- :blob
SELECT lower(hex(id)) AS id, size, data, salt IS NULL AS forgotten FROM blob WHERE id = :id

-- :workers: of other hosts, the latest last
SELECT worker, key, labels, host, now_ms, revoked_ms, revoked_by FROM worker ORDER BY id

-- :invitations: that nobody has used
SELECT digest, labels, expires_ms, by, now_ms FROM invitation WHERE worker = '' ORDER BY now_ms
