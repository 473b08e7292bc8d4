"""The Arrow schemas of every Parquet artefact, written down once; `scanner.artefacts` reads and writes tables of them."""

from __future__ import annotations

from typing import Final

import pyarrow as pa

QUALITY: Final = pa.struct([(name, pa.float32()) for name in ("detection_score", "size_px", "sharpness", "frontality")])
FACE_FIELDS: Final = (
    pa.field("item_id", pa.string(), nullable=False),
    pa.field("uri", pa.string(), nullable=False),
    pa.field("other_uris", pa.list_(pa.string())),
    pa.field("identity", pa.string()),
    pa.field("face", pa.int16(), nullable=False),
    pa.field("box", pa.list_(pa.float32(), 4)),
    pa.field("quality", QUALITY),
    pa.field("crop_hash", pa.binary(8)),
)
"""What is known of a face besides its vector: the same columns in embeddings, queries and index rows."""

CROP_FIELD: Final = pa.field("crop_png", pa.binary())

REFERENCE_ROWS: Final = pa.schema([pa.field("face_id", pa.string(), nullable=False), *FACE_FIELDS, CROP_FIELD])
"""What an index keeps of a reference beside its vector and its own int64 id."""

QUERIES: Final = pa.schema(
    [
        pa.field("query_id", pa.string(), nullable=False),
        *FACE_FIELDS,
        pa.field("best_score", pa.float32()),
        pa.field("best_reference_id", pa.int64()),
        pa.field("best_index", pa.string()),
        pa.field("matches", pa.int32(), nullable=False),
        pa.field("cluster", pa.int32()),
        pa.field("null_score", pa.float32()),
        *(pa.field(name, pa.float64()) for name in ("p_value", "p_conformal", "p_paired", "q_value", "q_paired")),
    ]
)
"""One row a scanned face; the columns from `cluster` on only with a null."""

MATCHES: Final = pa.schema(
    [
        pa.field("query_id", pa.string(), nullable=False),
        pa.field("query_uri", pa.string(), nullable=False),
        pa.field("query_face", pa.int16(), nullable=False),
        pa.field("index", pa.string(), nullable=False),
        pa.field("reference_id", pa.int64(), nullable=False),
        pa.field("reference_uri", pa.string(), nullable=False),
        pa.field("identity", pa.string()),
        pa.field("score", pa.float32(), nullable=False),
        pa.field("rank", pa.int32(), nullable=False),
        pa.field("p_value", pa.float64()),
        pa.field("q_value", pa.float64()),
        pa.field("verdict", pa.string(), nullable=False),
        pa.field("flags", pa.list_(pa.string()), nullable=False),
        pa.field("copy_score", pa.float32()),
    ]
)
"""`copy_score` is that of the two pictures by a copy-detection network, where one was given (`--copies`)."""

IDENTITIES: Final = pa.schema(
    [
        pa.field("index", pa.string(), nullable=False),
        pa.field("identity", pa.string(), nullable=False),
        pa.field("best_score", pa.float32(), nullable=False),
        pa.field("photos", pa.int32(), nullable=False),
        pa.field("p_conformal", pa.float64(), nullable=False),
        pa.field("p_value", pa.float64(), nullable=False),
        pa.field("q_value", pa.float64(), nullable=False),
        pa.field("q_by", pa.float64(), nullable=False),
        pa.field("q_conformal", pa.float64(), nullable=False),
        pa.field("p_low", pa.float64(), nullable=False),
        pa.field("p_high", pa.float64(), nullable=False),
        pa.field("clusters", pa.int32(), nullable=False),
        pa.field("flags", pa.list_(pa.string()), nullable=False),
    ]
)
"""One row a candidate identity, weighed against people known not to be in training (`scan --null`).

`p_low` and `p_high` bound the share of null photos as close as its best one (95 %, Clopper-Pearson); `clusters` counts
the generated identities that match it.
"""

PHOTOS: Final = pa.schema(
    [
        pa.field("side", pa.string(), nullable=False),
        pa.field("index", pa.string(), nullable=False),
        pa.field("reference_id", pa.int64(), nullable=False),
        pa.field("reference_uri", pa.string(), nullable=False),
        pa.field("item_id", pa.string(), nullable=False),
        pa.field("identity", pa.string(), nullable=False),
        pa.field("best_score", pa.float32(), nullable=False),
        pa.field("best_query_id", pa.string(), nullable=False),
        pa.field("scores", pa.list_(pa.float32()), nullable=False),
        pa.field("centrality", pa.float64(), nullable=False),
        pa.field("mated_score", pa.float32()),
        pa.field("flags", pa.list_(pa.string()), nullable=False),
    ]
)
"""What lies near each labelled photo of the candidates and of the null: all that p-values of identities rest on.

`side` is candidate or null; `scores` are the best few, best first; `centrality` is the mean score over all scanned faces;
`mated_score` is that of the photo with another one of its person, where there is one.
"""

REJECTS: Final = pa.schema(
    [
        pa.field("uri", pa.string(), nullable=False),
        pa.field("item_id", pa.string(), nullable=False),
        pa.field("identity", pa.string()),
        pa.field("level", pa.string(), nullable=False),
        pa.field("reason", pa.string(), nullable=False),
        pa.field("detail", pa.string(), nullable=False),
    ]
)

JOINT: Final = pa.schema(
    [
        pa.field("identity", pa.string(), nullable=False),
        pa.field("photos", pa.int32(), nullable=False),
        pa.field("best_score", pa.list_(pa.float32()), nullable=False),
        pa.field("p_value", pa.list_(pa.float64()), nullable=False),
        pa.field("q_value", pa.list_(pa.float64()), nullable=False),
        pa.field("statistic", pa.float64(), nullable=False),
        pa.field("p_conformal", pa.float64(), nullable=False),
        pa.field("p_joint", pa.float64(), nullable=False),
        pa.field("q_joint", pa.float64(), nullable=False),
        pa.field("q_by", pa.float64(), nullable=False),
        pa.field("agreement", pa.int32(), nullable=False),
    ]
)
"""One row an identity that all counted embedders saw.

The lists have one entry an embedder, in the order of `joint.json`, also for those that are not counted; null where an
embedder did not see the identity.  `agreement` is how many of the counted ones name it alone.
"""

INVERSIONS: Final = pa.schema(
    [
        pa.field("item_id", pa.string(), nullable=False),
        pa.field("uri", pa.string(), nullable=False),
        pa.field("identity", pa.string()),
        pa.field("status", pa.string(), nullable=False),
        pa.field("restarts", pa.int32(), nullable=False),
        pa.field("steps", pa.int32(), nullable=False),
        pa.field("loss", pa.float64()),
        pa.field("pixel_mse", pa.float64()),
        pa.field("psnr_db", pa.float64()),
        pa.field("relative_error", pa.float64()),
        pa.field("feature", pa.float64()),
        pa.field("identity_score", pa.float64()),
        pa.field("label", pa.int64()),
        pa.field("latent", pa.list_(pa.float32())),
    ]
)
"""One row an image whose latent was searched: see `scanner.inversion.plan.Recovered`.

`identity` is the label that the user brought, `identity_score` the cosine of image and reconstruction; what failed has no
figures.
"""

DEDUPE_PAIRS: Final = pa.schema(
    [
        pa.field("group", pa.int64(), nullable=False),
        pa.field("reference_id", pa.int64(), nullable=False),
        pa.field("other_id", pa.int64(), nullable=False),
        pa.field("score", pa.float32(), nullable=False),
        pa.field("kind", pa.string(), nullable=False),
        pa.field("near_copy", pa.bool_(), nullable=False),
        pa.field("reference_uri", pa.string(), nullable=False),
        pa.field("other_uri", pa.string(), nullable=False),
        pa.field("identity", pa.string()),
        pa.field("other_identity", pa.string()),
    ]
)
"""Pairs of one index's references at or above the threshold, each once, the lower id first; by id, then best first.

`kind` is within (one identity), between (two identities) or unlabelled (one side has none); `group` is the lowest id of
the references that hang together by pairs; `near_copy` says that the crops' perceptual hashes nearly agree.
"""

DEDUPE_GROUPS: Final = pa.schema(
    [
        pa.field("group", pa.int64(), nullable=False),
        pa.field("reference_id", pa.int64(), nullable=False),
        pa.field("reference_uri", pa.string(), nullable=False),
        pa.field("identity", pa.string()),
        pa.field("references", pa.int64(), nullable=False),
        pa.field("identities", pa.int64(), nullable=False),
        pa.field("pairs", pa.int64(), nullable=False),
        pa.field("density", pa.float64(), nullable=False),
        pa.field("lowest_score", pa.float32(), nullable=False),
    ]
)
"""One row a reference that is in a pair, by group and id; the columns from `references` on are of the whole group.

`density` is pairs over possible pairs and `lowest_score` the lowest of the pairs: a group of many references and low
density is a chain, whose ends may have nothing in common.
"""

CROPS: Final = pa.schema(
    [
        pa.field("side", pa.string(), nullable=False),
        pa.field("query_id", pa.string()),
        pa.field("index", pa.string()),
        pa.field("reference_id", pa.int64()),
        pa.field("crop_png", pa.binary(), nullable=False),
    ]
)
"""Crops of matched pairs, each once, written only when the user asks for them; `side` is query or reference."""


def embeddings_schema(dim: int, *, crops: bool = False) -> pa.Schema:
    """Return the schema of an embeddings file: one row a face, `embedding` float32[dim] of unit length."""
    vector = pa.field("embedding", pa.list_(pa.float32(), dim), nullable=False)
    extra = [CROP_FIELD] if crops else []
    return pa.schema([pa.field("id", pa.string(), nullable=False), *FACE_FIELDS, *extra, vector])


def samples_schema(dim: int) -> pa.Schema:
    """Return the schema of `samples.parquet`: one row a scanned face, what the evidence and `scanner check` need of it.

    `candidate_score` and `null_score` are the best scores among equally many candidate and null photos, `usual` is the mean
    score over all of these;
    `null_identities` and `null_pairs` count whole null people and photos at or above the threshold.
    """
    return pa.schema(
        [
            pa.field("query_id", pa.string(), nullable=False),
            pa.field("cluster", pa.int32(), nullable=False),
            pa.field("best_score", pa.float32(), nullable=False),
            pa.field("candidate_score", pa.float32(), nullable=False),
            pa.field("candidate_identity", pa.string(), nullable=False),
            pa.field("null_score", pa.float32(), nullable=False),
            pa.field("null_identity", pa.string(), nullable=False),
            pa.field("usual", pa.float64(), nullable=False),
            pa.field("null_identities", pa.int32(), nullable=False),
            pa.field("null_pairs", pa.int32(), nullable=False),
            pa.field("embedding", pa.list_(pa.float32(), dim), nullable=False),
        ]
    )
