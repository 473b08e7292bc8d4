"""No schema of the project has a column that leads to a person and that erasing does not know."""

import ast
import importlib
import pkgutil
import re
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa

import scanner
from scanner import artefacts
from scanner.erasing.columns import CARRIED, IMAGES, NAMELESS_VECTORS, PERSONAL, VECTOR, Side, sides_of

ROOT = Path(__file__).parents[3]
SUSPICIOUS = re.compile(
    "uri|identit|item|face|embedding|vector|crop|latent|image|picture|png|person|label|query|reference|photo|other|path|name"
)
"""What a column that leads to a person, or is of one, could be called."""
HARMLESS = {
    "face": "the ordinal of a face in its picture", "query_face": "the same", "photos": "a count", "label": "a class",
    "references": "a count", "identities": "a count", "identity_score": "a score", "null_identities": "a count",
    "query": "a place in a nightly job's queries", "generator": "a generator", "other_score": "a score",
    "query_row": "a place in a block of queries",
    "near_query": "places in a nightly job's queries",
}  # fmt: skip
NO_TABLES = tuple(
    f"scanner.{name}" for name in ("world", "cli", "inversion", "networks", "report", "serve", "__main__")
)
"""Rooms that write no Parquet: what `report` and `serve` call a schema is made while they look at runs."""
BY_HAND = {IMAGES: "known by the hash of the picture", **dict.fromkeys(NAMELESS_VECTORS, "its work folder goes")}


def schemas() -> Iterator[tuple[str, pa.Schema]]:
    """Yield every schema that a module of ours holds or makes."""
    for module in pkgutil.walk_packages(scanner.__path__, "scanner."):
        if module.name.startswith(NO_TABLES):
            continue
        for name, value in vars(importlib.import_module(module.name)).items():
            if isinstance(value, pa.Schema):
                yield f"{module.name}.{name}", value
            elif isinstance(value, tuple) and value and all(isinstance(one, pa.Field) for one in value):
                yield f"{module.name}.{name}", pa.schema(value)
    yield "embeddings", artefacts.embeddings_schema(4, crops=True)
    yield "samples", artefacts.samples_schema(4)


def test_every_column_that_could_lead_to_a_person_is_known() -> None:
    found = dict(schemas())
    unknown = [
        f"{where}: {name}"
        for where, schema in found.items()
        for name in schema.names
        if SUSPICIOUS.search(name) and name not in PERSONAL | CARRIED | HARMLESS.keys()
    ]

    assert len(found) > 12
    assert unknown == []


def test_every_list_of_numbers_and_every_binary_column_is_known() -> None:
    """Vectors, latents and pictures, whatever they are called."""
    known = CARRIED | {VECTOR, "scores", "best_score", "p_value", "q_value"}

    unknown = [
        f"{where}: {field.name}"
        for where, schema in schemas()
        for field in schema
        if field.name not in known
        and (
            pa.types.is_binary(field.type)
            or pa.types.is_fixed_size_binary(field.type)
            or (
                isinstance(field.type, pa.ListType | pa.FixedSizeListType)
                and pa.types.is_floating(field.type.value_type)
            )
        )
    ]

    assert unknown == []


def test_every_schema_with_such_a_column_has_a_side() -> None:
    lost = [
        where
        for where, schema in schemas()
        if (CARRIED | {VECTOR}) & set(schema.names) and not sides_of(schema) and where.rpartition(".")[2] != "IMAGES"
    ]

    assert lost == []


def test_every_name_under_which_a_table_is_written_is_one_of_a_schema_that_is_seen_here() -> None:
    """A schema that is made inside a function is not seen above: its stamp must be known to this test."""
    stamps = set()
    for path in (ROOT / "scanner").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            is_stamp = isinstance(node, ast.Call) and ast.unparse(node.func).endswith("stamped") and len(node.args) > 1
            if is_stamp and isinstance(node.args[1], ast.Constant):
                stamps.add(node.args[1].value)

    made_in_functions = {"matched", "erased_vectors"}
    seen = {
        "embeddings", "rejects", "photos", "samples", "identities", "joint", "hits", "inversions", "generated",
        "dedupe_pairs", "dedupe_groups", "crops", "pairs", "split", "scores", "seen", "fresh",
    }  # fmt: skip
    assert stamps - seen - made_in_functions - set(BY_HAND) == set()


def test_sides_are_found_by_the_names_of_columns() -> None:
    assert sides_of(artefacts.MATCHES) == (
        Side("reference_uri", "identity", reference="reference_id"),
        Side("query_uri", face="query_id"),
    )
    assert sides_of(artefacts.embeddings_schema(4)) == (Side("uri", "identity", "item_id", "id", "other_uris"),)
    assert sides_of(artefacts.CROPS) == (Side(face="query_id", reference="reference_id"),)
    assert sides_of(artefacts.IDENTITIES) == (Side(label="identity"),)
    assert sides_of(artefacts.samples_schema(4)) == (Side(face="query_id"),)
    assert len(sides_of(artefacts.DEDUPE_PAIRS)) == 2
    assert sides_of(pa.schema([("score", pa.float32())])) == ()
