-- What did each night of a nightly job find?
--
-- One row a night, in order; `new_identities` were matched in no earlier night of the job.
WITH
    placed AS (SELECT job, night, unnest(runs) AS run FROM nights),
    found AS (
        SELECT DISTINCT job, night, "index", coalesce(identity, 'reference ' || reference_id) AS identity
        FROM matches
        JOIN placed USING (run)
    ),
    firsts AS (SELECT job, "index", identity, min(night) AS night FROM found GROUP BY ALL),
    fresh AS (SELECT job, night, count(*) AS new_identities FROM firsts GROUP BY ALL)
SELECT job, night, entries, faces, rejected, matches, coalesce(new_identities, 0) AS new_identities, verdicts
FROM nights
LEFT JOIN fresh USING (job, night)
ORDER BY job, night
