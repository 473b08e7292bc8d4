-- Which identities are matched after a run, and neither in it nor before it?
--
-- Runs stand in the order of `runs.position`: of their nights, else of the paths that were given and of names.
--
-- $run: a run, named as in the column `run`
WITH
    since AS (
        SELECT coalesce(max(position), error('There is no run ' || $run || ': see the column run of runs')) AS position
        FROM runs
        WHERE run = $run
    ),
    found AS (
        SELECT
            "index",
            coalesce(identity, 'reference ' || reference_id) AS identity,
            min(position) AS first_position,
            arg_min(run, position) AS first_run,
            max(score) AS best_score,
            count(DISTINCT query_id) AS faces
        FROM matches
        JOIN runs USING (run)
        GROUP BY ALL
    )
SELECT "index", identity, first_run, best_score, faces
FROM found, since
WHERE first_position > since.position
ORDER BY first_position, best_score DESC, "index", identity
