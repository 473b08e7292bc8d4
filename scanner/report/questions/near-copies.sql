-- Which scanned images are (nearly) the very picture of a reference, not only its person?
--
-- Pairs with the flag same_bytes or near_copy, the same files first, then by score.
--
-- $top = 50: rows
SELECT run, query_uri, "index", reference_uri, identity, score, copy_score, flags
FROM matches
WHERE list_has_any(flags, ['same_bytes', 'near_copy'])
ORDER BY list_contains(flags, 'same_bytes') DESC, score DESC, run, query_id, "index", reference_id
LIMIT $top
