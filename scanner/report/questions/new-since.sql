-- Which identities are matched after a run, and neither in it nor before it?
--
-- Runs stand in the order of `runs.position`: of their nights, else of the paths that were given and of names.
--
-- $run: a run, named as in that column of runs
WITH
    since AS (
        SELECT coalesce(max(position), error('There is no run ' || $run || ': see the column run of runs')) AS position
        FROM runs
        WHERE run = $run
    ),
    found AS NOT MATERIALIZED (
        SELECT run, query_id, "index", coalesce(identity, 'reference ' || reference_id) AS identity, score
        FROM matches
    ),
    by_run AS (SELECT run, "index", identity, max(score) AS best_score FROM found GROUP BY ALL),
    firsts AS (
        SELECT
            "index",
            identity,
            min(position) AS position,
            arg_min(run, position) AS first_run,
            max(best_score) AS best_score
        FROM by_run
        JOIN runs USING (run)
        GROUP BY ALL
    ),
    fresh AS (SELECT firsts.* FROM firsts, since WHERE firsts.position > since.position)
SELECT "index", identity, first_run, best_score, count(DISTINCT query_id) AS faces
FROM fresh
JOIN found USING ("index", identity)
GROUP BY "index", identity, first_run, best_score, position
ORDER BY position, best_score DESC, "index", identity
