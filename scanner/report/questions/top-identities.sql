-- Which candidate identities come closest to the scanned faces?
--
-- One row an identity (or a reference without identity) of each index, over all runs: the best score, how many faces
-- match it, in how many runs, and the smallest q-value where a run has a null.
--
-- $top = 20: rows
WITH
    found AS NOT MATERIALIZED (
        SELECT run, query_id, "index", coalesce(identity, 'reference ' || reference_id) AS identity, score, q_value
        FROM matches
    ),
    by_run AS (
        SELECT run, "index", identity, max(score) AS best_score, min(q_value) AS q_value
        FROM found
        GROUP BY ALL
    ),
    top AS (
        SELECT "index", identity, max(best_score) AS best_score, min(q_value) AS q_value, count(*) AS runs
        FROM by_run
        GROUP BY ALL
        ORDER BY best_score DESC, "index", identity
        LIMIT $top
    )
SELECT "index", identity, best_score, top.q_value, count(DISTINCT query_id) AS faces, runs
FROM top
JOIN found USING ("index", identity)
GROUP BY ALL
ORDER BY best_score DESC, "index", identity
