-- Which identities does the evidence name, and how sure is it?
--
-- One row an identity with a q-value at or below the level, of runs with a null whose verdict is "named"; most unusual
-- first.
--
-- $level = null: highest q-value; if not given, the level that each run was scanned with
SELECT run, "index", identity, best_score, photos, identities.clusters, p_value, q_value, flags
FROM identities
JOIN evidence USING (run)
WHERE verdict = 'named' AND q_value <= coalesce(CAST($level AS DOUBLE), level)
ORDER BY q_value, p_value, best_score DESC, run, "index", identity
