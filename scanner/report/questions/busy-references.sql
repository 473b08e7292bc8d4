-- Which reference photos match many scanned faces?
--
-- A photo that is close to everything (a hub) or a person whom a generator makes again and again; `share` is that of the
-- run's scanned faces.
--
-- $top = 20: rows
-- $faces_min = 2: fewest faces
SELECT
    run,
    "index",
    reference_uri,
    any_value(identity) AS identity,
    count(*) AS matched_faces,
    count(*) / any_value(faces) AS share,
    max(score) AS best_score,
    bool_or(list_contains(flags, 'hub')) AS hub
FROM matches
JOIN runs USING (run)
GROUP BY run, "index", reference_id, reference_uri
HAVING count(*) >= $faces_min
ORDER BY matched_faces DESC, best_score DESC, run, "index", reference_uri
LIMIT $top
