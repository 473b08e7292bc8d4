-- Which reference photos match many scanned faces?
--
-- A photo that is close to everything (a hub) or a person whom a generator makes again and again; `share` is that of the
-- run's scanned faces.
--
-- $top = 20: rows
-- $faces_min = 2: fewest faces
WITH busy AS (
    SELECT run, "index", reference_id, count(*) AS matched_faces, max(score) AS best_score
    FROM matches
    GROUP BY ALL
    HAVING count(*) >= $faces_min
    ORDER BY matched_faces DESC, best_score DESC, run, "index", reference_id
    LIMIT $top
)
SELECT
    run,
    "index",
    any_value(reference_uri) AS reference_uri,
    any_value(identity) AS identity,
    matched_faces,
    matched_faces / any_value(faces) AS share,
    best_score,
    bool_or(list_contains(flags, 'hub')) AS hub
FROM busy
JOIN matches USING (run, "index", reference_id)
JOIN runs USING (run)
GROUP BY run, "index", reference_id, matched_faces, best_score
ORDER BY matched_faces DESC, best_score DESC, run, "index", reference_id
