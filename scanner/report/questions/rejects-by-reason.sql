-- Why were images or faces left out?
--
-- One row a reason and run, with its share of all entries of the sources and one example.
SELECT
    run,
    level,
    reason,
    count(*) AS rejects,
    count(*) / any_value(entries) AS share,
    min(uri) AS example
FROM rejects
JOIN runs USING (run)
GROUP BY position, run, level, reason
ORDER BY position, rejects DESC, level, reason
