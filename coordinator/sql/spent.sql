-- What the tasks of each project spent and have reserved, with the dearest attempt: for the writer and for readers.

-- :spent
SELECT task.project, sum(task.cost) AS cost, sum(task.reserved) AS reserved, sum(task.tokens) AS tokens,
    sum(task.reserved_tokens) AS reserved_tokens, coalesce(max(dearest.cost), 0) AS largest,
    coalesce(max(dearest.tokens), 0) AS largest_tokens
FROM task LEFT JOIN (
    SELECT spawn.task AS task, max(attempt.cost) AS cost, max(attempt.input_tokens + attempt.output_tokens) AS tokens
    FROM attempt JOIN spawn ON spawn.id = attempt.spawn GROUP BY spawn.task
) AS dearest ON dearest.task = task.id
GROUP BY task.project
