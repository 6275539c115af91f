-- What the writer's own connection asks: at start, at the first touch of a task, and for keys that come again.

-- :key
SELECT seq, body FROM entry WHERE key = ?

-- :task_id
SELECT id FROM task WHERE task = ?

-- :edge
SELECT size, hashes FROM edge WHERE id = 0

-- :last_time
SELECT coalesce(max(seq), -1), coalesce((SELECT now_ms FROM entry ORDER BY seq DESC LIMIT 1), 0) FROM entry

-- :epoch
SELECT coalesce((SELECT epoch FROM home), 0)

-- :task_entries
SELECT seq, body FROM entry WHERE task = ? AND n > ? ORDER BY n

-- :home_entries
SELECT seq, body FROM entry WHERE task IS NULL ORDER BY seq

-- :all_entries
SELECT seq, task, body, leaf FROM entry WHERE seq >= ? ORDER BY seq

-- :open_tasks
SELECT task FROM task WHERE status = 'open' ORDER BY id

-- :spawns: of the present stages of open tasks, by status; what is ready can wait for a time or for a held task
SELECT task.task, task.project, task.priority, task.weight, task.paused OR task.parked <> '', spawn.spawn, spawn.agent,
    spawn.attempt, spawn.not_before_ms, spawn.chain, spawn.binding, spawn.fence, spawn.worker, spawn.boot, spawn.granted_ms,
    spawn.why, submission.spec ->> '$.rules_digest', coalesce(submission.spec -> '$.requires', '[]')
FROM task INDEXED BY task_open CROSS JOIN spawn INDEXED BY spawn_task ON spawn.task = task.id AND spawn.id >= task.entered
    CROSS JOIN submission ON submission.task = task.id
WHERE task.status = 'open' AND spawn.status = ?
ORDER BY spawn.id

-- :spawn_row
SELECT id, spawn, status, attempt, fence, binding, bound, worker, boot, granted_ms, reserved FROM spawn
WHERE task = ? AND spawn = ?

-- :stage_rows: the spawns of the present stage
SELECT spawn.id, spawn.spawn, spawn.status, spawn.attempt, spawn.fence, spawn.binding, spawn.bound, spawn.worker, spawn.boot,
    spawn.granted_ms, spawn.reserved
FROM task CROSS JOIN spawn INDEXED BY spawn_task ON spawn.task = task.id AND spawn.id >= task.entered
WHERE task.id = ?

-- :wakes
SELECT task.task, wake.name, wake.due_ms FROM wake JOIN task ON task.id = wake.task
WHERE wake.due_ms <= ? ORDER BY wake.due_ms, wake.task, wake.name

-- :blob
SELECT salt, data, size FROM blob WHERE id = ?

-- :node
SELECT hash FROM node WHERE level = ? AND place = ?

-- :leaves
SELECT leaf FROM entry WHERE seq >= ? AND seq < ? ORDER BY seq

-- :last_checkpoint
SELECT size, now_ms, note FROM checkpoint ORDER BY size DESC LIMIT 1

-- :orphan: a late result, and the worker that the record says the attempt was given to
SELECT orphan.spawn, orphan.attempt, orphan.worker, orphan.command,
    coalesce((SELECT attempt.worker FROM task JOIN spawn INDEXED BY spawn_task ON spawn.task = task.id AND spawn.spawn = orphan.spawn
        JOIN attempt ON attempt.id = spawn.id * 100000 + orphan.attempt AND attempt.fence = orphan.fence
        WHERE task.task = orphan.task), '')
FROM orphan WHERE id = ?

-- :checkpoints
SELECT size, now_ms, note FROM checkpoint ORDER BY size

-- :checkpoint_from: the first signed head that covers so many entries
SELECT size, now_ms, note FROM checkpoint WHERE size >= ? ORDER BY size LIMIT 1

-- :bundle
SELECT archive FROM bundle WHERE digest = ?

-- :origin
SELECT origin FROM home
