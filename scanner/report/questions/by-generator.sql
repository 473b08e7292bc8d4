-- How much does each generator (each scanned source) give away?
--
-- One row a source: a night's name for what was scanned, else the sources themselves; most matched faces first.
WITH
    scanned AS (SELECT source, count(*) AS runs, sum(faces) AS faces FROM runs GROUP BY source),
    found AS (
        SELECT
            source,
            count(*) AS pairs,
            count(DISTINCT (run, query_id)) AS matched_faces,
            count(DISTINCT ("index", coalesce(identity, 'reference ' || reference_id))) AS identities,
            max(score) AS best_score
        FROM matches
        JOIN runs USING (run)
        GROUP BY source
    )
SELECT
    source,
    runs,
    CAST(faces AS BIGINT) AS faces,
    coalesce(matched_faces, 0) AS matched_faces,
    coalesce(matched_faces, 0) / nullif(faces, 0) AS share,
    coalesce(pairs, 0) AS pairs,
    coalesce(identities, 0) AS identities,
    best_score
FROM scanned
LEFT JOIN found USING (source)
ORDER BY share DESC NULLS LAST, source
