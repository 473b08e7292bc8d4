"""Which SQL may run over reports: one SELECT over the views, and nothing that reaches out of them.

The second of two locks: the engine itself refuses files, network, extensions and settings (`scanner.report.database`); this
one reads the syntax tree that the engine's own parser made, and refuses whatever it does not know.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from typing import Any

from scanner.errors import QueryError
from scanner.report.sql_errors import place, sentence

SQL_BYTES_MAX = 65_536

_NODES = {
    "SELECT_NODE", "SET_OPERATION_NODE", "RECURSIVE_CTE_NODE", "CTE_NODE",
    "BASE_TABLE", "SUBQUERY", "JOIN", "TABLE_FUNCTION", "EXPRESSION_LIST", "EMPTY", "PIVOT", "SHOW_REF",
    "ORDER_MODIFIER", "LIMIT_MODIFIER", "LIMIT_PERCENT_MODIFIER", "DISTINCT_MODIFIER",
    "ORDER_DEFAULT", "ASCENDING", "DESCENDING",
}  # fmt: skip
_TABLE_FUNCTIONS = {"unnest", "json_each", "json_tree"}
_FUNCTIONS_REFUSED = {
    "getenv", "current_setting", "current_query", "which_secret", "stats", "write_log", "query", "query_table",
    "json_serialize_plan", "json_serialize_sql", "json_deserialize_sql", "nextval", "currval", "setval", "setseed",
    "sleep_ms", "range", "generate_series", "repeat", "lpad", "rpad", "format", "printf", "bitstring", "levenshtein", "editdist3", "damerau_levenshtein",
    "list_resize", "array_resize", "list_reduce", "array_reduce", "reduce",
}  # fmt: skip
"""Functions that tell of the machine, that remember something, or that take any time and memory in one step: the engine
looks at its limits between steps."""


def refuse_all_but_select(
    tree: Mapping[str, Any], sql: str, views: Collection[str], *, engines: Collection[str] = ()
) -> None:
    """Look through a syntax tree as `json_serialize_sql` gives it.

    Args:
        tree: of `sql`.
        sql: to name places in it.
        views: tables that may be read.
        engines: names of the engine's own tables, in lower case.

    Raises:
        QueryError: it is not one SELECT over `views`, or uses something that is not allowed here; says what and where.
    """
    if tree["error"]:
        if tree.get("error_type") == "parser":
            where = place(sql, int(tree.get("position", -1)))
            raise QueryError(f"The SQL is wrong{where}: {sentence(tree['error_message'])}")
        raise QueryError("Reports can only be read: write one SELECT (or FROM, WITH, DESCRIBE, SUMMARIZE).")
    if len(tree["statements"]) != 1:
        raise QueryError(f"One statement at a time is answered, and these are {len(tree['statements'])}.")
    nodes = list(_nodes(tree["statements"]))
    named = {name for node in nodes for name in _named_in(node)}
    for name in named:
        # Where such a name holds is not looked at, so outside of it the engine must find nothing under it: no file, no table.
        if not name.isidentifier() or name.lower() in engines:
            raise QueryError(f"WITH {name!r}: a word of letters, digits and _ is expected, and no table of the engine.")
    known = {name.lower() for name in {*views, *named}}
    for node in nodes:
        said = _fault(node, known)
        if said:
            there = f" The tables are {', '.join(sorted(views))}." if node.get("type") == "BASE_TABLE" else ""
            raise QueryError(f"{said}{place(sql, node.get('query_location'))}.{there}")


def _fault(node: Mapping[str, Any], known: Collection[str]) -> str | None:
    kind, function = node.get("type"), str(node.get("function_name", "")).lower()
    if "class" in node:
        refused = function in _FUNCTIONS_REFUSED or function.startswith("pg_")
        return f"{function}() is not allowed here" if refused else None
    if not isinstance(kind, str):
        return None
    if kind not in _NODES:
        return f"Only reading is allowed here, not {kind.removesuffix('_NODE').removesuffix('_QUERY').lower()}"
    if kind == "TABLE_FUNCTION":
        name = str(node["function"].get("function_name", "")).lower()
        return None if name in _TABLE_FUNCTIONS else f"{name}() is not allowed here"
    if kind == "SHOW_REF":
        shown = node["table_name"].strip('"')
        return None if node["query"] is not None or shown == "tables" else f"SHOW {shown} is not allowed here"
    if kind == "BASE_TABLE":
        path = [part.lower() for part in node["qualified_name"]["path"]]
        if path[:-1] not in ([], ["main"]) or path[-1] not in known:
            return f"There is no table {'.'.join(path)!r}"
    return None


def _nodes(tree: Any) -> Iterator[Mapping[str, Any]]:
    waiting = [tree]
    while waiting:
        value = waiting.pop()
        if isinstance(value, dict):
            yield value
            waiting.extend(value.values())
        elif isinstance(value, list):
            waiting.extend(value)


def _named_in(node: Mapping[str, Any]) -> Iterator[str]:
    """Yield the names that a WITH gives to its queries."""
    named = node.get("cte_map")
    if isinstance(named, dict):
        yield from (entry["key"] for entry in named["map"])
