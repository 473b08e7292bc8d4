-- What does each run say as a whole, and how small a leak would it have seen?
--
-- One row a run, in order; without a null there is no verdict.  `fpir` is the share of scanned faces that match
-- somebody by chance alone, `smallest_leak` the share of leaked candidates that 8 of 10 scans would have seen.
SELECT
    run, runs.verdict, below_level, identities, level, fpir, smallest_leak, guards_fired,
    coalesce(sentence, 'Scanned without a null: matches only.') AS sentence
FROM runs
LEFT JOIN evidence USING (run)
ORDER BY position
