-- Which candidate identities come closest to the scanned faces?
--
-- One row an identity (or a reference without identity) of each index, over all runs: the best score, how many faces
-- match it, in how many runs, and the smallest q-value where a run has a null.
--
-- $top = 20: rows
SELECT
    "index",
    coalesce(identity, 'reference ' || reference_id) AS identity,
    max(score) AS best_score,
    min(q_value) AS q_value,
    count(DISTINCT query_id) AS faces,
    count(DISTINCT run) AS runs
FROM matches
GROUP BY ALL
ORDER BY best_score DESC, "index", identity
LIMIT $top
