-- How much does each generator (each scanned source) give away?
--
-- One row a source: a night's name for what was scanned, else the sources themselves; most matched faces first.
WITH
    by_run AS (
        SELECT run, "index", coalesce(identity, 'reference ' || reference_id) AS identity, max(score) AS best_score
        FROM matches
        GROUP BY ALL
    ),
    by_identity AS (
        SELECT source, "index", identity, max(best_score) AS best_score
        FROM by_run
        JOIN runs USING (run)
        GROUP BY ALL
    ),
    found AS (SELECT source, count(*) AS identities, max(best_score) AS best_score FROM by_identity GROUP BY source)
SELECT
    source,
    count(*) AS runs,
    sum(faces) AS faces,
    sum(matched_queries) AS matched_faces,
    sum(matched_queries) / nullif(sum(faces), 0) AS share,
    sum(matches) AS pairs,
    coalesce(any_value(identities), 0) AS identities,
    any_value(best_score) AS best_score
FROM runs
LEFT JOIN found USING (source)
GROUP BY source
ORDER BY share DESC NULLS LAST, source
