-- Which scanned faces just miss the threshold?
--
-- Faces without a match whose best score lies at most `margin` below the run's threshold, nearest first.
--
-- $margin = 0.05: how far below
-- $top = 50: rows
SELECT run, uri, face, best_index, best_reference_id, best_score, threshold - best_score AS short_by
FROM queries
JOIN runs USING (run)
WHERE queries.matches = 0 AND threshold - best_score <= $margin
ORDER BY short_by, run, query_id
LIMIT $top
