"""What the house style forbids, held by the syntax tree rather than by goodwill."""

from __future__ import annotations

import ast
from collections.abc import Callable, Container, Iterator
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGES = ("scanner", "indexes")
FILE_LINES_MAX = 300
FUNCTION_LINES_MAX = 70
COLOURS_ONLY = "scanner/report/histogram.py"
"""Colours the bars from the threshold on; the verdicts were made before."""

MODULES = sorted(path.relative_to(ROOT).as_posix() for package in PACKAGES for path in (ROOT / package).rglob("*.py"))


@cache
def tree_of(module: str) -> ast.Module:
    return ast.parse((ROOT / module).read_text("utf-8"))


def calls_in(module: str) -> Iterator[tuple[str, ast.Call]]:
    """Yield every call with the dotted name of what is called."""
    for node in ast.walk(tree_of(module)):
        if isinstance(node, ast.Call):
            yield ast.unparse(node.func), node


def imports_in(module: str) -> Iterator[str]:
    """Yield every imported module's dotted name."""
    for node in ast.walk(tree_of(module)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def identifiers_in(module: str) -> Iterator[str]:
    """Yield the names of variables, attributes, arguments, functions and classes."""
    for node in ast.walk(tree_of(module)):
        for field in ("id", "attr", "arg", "name"):
            value = getattr(node, field, None)
            if isinstance(value, str):
                yield value


def in_cli(module: str) -> bool:
    return module.startswith("scanner/cli/") or module == "scanner/__main__.py"


def violations(check: Callable[[str], list[str]], *, but: Container[str] = ()) -> list[str]:
    """Return what `check` finds in any module, with the module's name."""
    return [f"{module}: {found}" for module in MODULES if module not in but for found in check(module)]


def long_file(module: str) -> list[str]:
    lines = len((ROOT / module).read_text("utf-8").splitlines())
    return [f"{lines} lines"] if lines > FILE_LINES_MAX else []


def long_functions(module: str) -> list[str]:
    return [
        f"{node.name}: {length} lines"
        for node in ast.walk(tree_of(module))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        and (length := (node.end_lineno or 0) - node.lineno + 1) > FUNCTION_LINES_MAX
    ]


def missing_docstring(module: str) -> list[str]:
    return [] if ast.get_docstring(tree_of(module)) else ["no docstring"]


def talk(module: str) -> list[str]:
    """Find what only the command line may do: print, exit, read arguments."""
    if in_cli(module):
        return []
    forbidden = {"print", "sys.exit", "exit", "quit", "os._exit", "input", "click.echo"}
    streams = {"sys.argv", "sys.stdout", "sys.stderr"}
    attributes = [ast.unparse(node) for node in ast.walk(tree_of(module)) if isinstance(node, ast.Attribute)]
    return [
        *(name for name, _ in calls_in(module) if name in forbidden),
        *(name for name in attributes if name in streams),
        *(name for name in imports_in(module) if name.partition(".")[0] in {"click", "argparse", "rich"}),
    ]


def code_from_data(module: str) -> list[str]:
    """Find what could run code that it read."""
    loaders = {"pickle", "cPickle", "dill", "cloudpickle", "joblib", "marshal", "shelve"}
    unsafe = [name for name in imports_in(module) if name.partition(".")[0] in loaders]
    for name, call in calls_in(module):
        given = {keyword.arg: ast.unparse(keyword.value) for keyword in call.keywords}
        if name in {"eval", "exec", "compile", "__import__"} or name.endswith((".unsafe_load", ".full_load")):
            unsafe.append(name)
        if given.get("allow_pickle", "False") != "False":
            unsafe.append(f"{name}(allow_pickle)")
        if name.endswith("torch.load") and given.get("weights_only") != "True":
            unsafe.append(f"{name} without weights_only=True")
        if given.get("shell") == "True":
            unsafe.append(f"{name}(shell=True)")
    return unsafe


def faiss_imports(module: str) -> list[str]:
    return [name for name in imports_in(module) if name.partition(".")[0] == "faiss"]


def distances(module: str) -> list[str]:
    return [name for name in identifiers_in(module) if "distance" in name.lower()]


def ordered_scores(module: str) -> list[str]:
    """Find scores that are ordered against a threshold, as far as names tell."""
    if not module.startswith("scanner/"):
        return []
    found = []
    for node in ast.walk(tree_of(module)):
        if isinstance(node, ast.Compare) and any(
            isinstance(op, ast.Lt | ast.LtE | ast.Gt | ast.GtE) for op in node.ops
        ):
            sides = [ast.unparse(side).lower() for side in (node.left, *node.comparators)]
            if any("threshold" in side for side in sides) and any("score" in side for side in sides):
                found.append(ast.unparse(node))
    return found


def silence(module: str) -> list[str]:
    return [
        f"line {node.lineno}"
        for node in ast.walk(tree_of(module))
        if isinstance(node, ast.ExceptHandler)
        and (node.type is None or ast.unparse(node.type) in {"Exception", "BaseException"})
        and all(isinstance(statement, ast.Pass) for statement in node.body)
    ]


def test_the_packages_are_found() -> None:
    assert "scanner/pipeline.py" in MODULES
    assert "indexes/faiss_lib.py" in MODULES
    assert len(MODULES) > 80


def test_no_file_is_longer_than_three_hundred_lines() -> None:
    assert violations(long_file) == []


def test_no_function_is_longer_than_seventy_lines() -> None:
    assert violations(long_functions) == []


def test_every_module_says_what_it_is() -> None:
    assert violations(missing_docstring) == []


def test_only_the_command_line_prints_exits_and_reads_arguments() -> None:
    assert violations(talk) == []


def test_nothing_that_is_read_from_disk_can_run() -> None:
    assert violations(code_from_data) == []


def test_only_one_module_imports_faiss() -> None:
    assert violations(faiss_imports, but=["indexes/faiss_lib.py"]) == []


def test_a_score_is_a_score_and_never_a_distance() -> None:
    assert violations(distances, but=["indexes/faiss_lib.py"]) == []


def test_only_decision_orders_a_score_against_a_threshold() -> None:
    assert violations(ordered_scores, but=["scanner/decision.py", COLOURS_ONLY]) == []


def test_nothing_is_caught_in_silence() -> None:
    assert violations(silence) == []


def test_modules_have_names_that_say_something() -> None:
    nothing = {"util", "utils", "common", "misc", "helpers", "helper"}
    assert [module for module in MODULES if Path(module).stem in nothing] == []


@pytest.mark.parametrize(
    ("check", "text"),
    [
        (long_file, "x = 1\n" * 301),
        (long_functions, "def f():\n" + "    x = 1\n" * 70),
        (missing_docstring, "x = 1\n"),
        (talk, "print(1)\n"),
        (talk, "import sys\nsys.exit(1)\n"),
        (talk, "import sys\nx = sys.argv\n"),
        (code_from_data, "import pickle\n"),
        (code_from_data, "import numpy as np\nnp.load('x', allow_pickle=True)\n"),
        (code_from_data, "import torch\ntorch.load('x')\n"),
        (faiss_imports, "def f():\n    import faiss.contrib\n"),
        (distances, "def f(distance_max): ...\n"),
        (ordered_scores, "def f(best_score, options): return best_score >= options.threshold\n"),
        (silence, "try:\n    x = 1\nexcept Exception:\n    pass\n"),
    ],
)
def test_a_violation_is_seen(
    check: Callable[[str], list[str]], text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "scanner").mkdir()
    (tmp_path / "scanner" / "bad.py").write_text(text)
    monkeypatch.setitem(globals(), "ROOT", tmp_path)
    monkeypatch.setitem(globals(), "tree_of", lambda module: ast.parse((tmp_path / module).read_text()))

    assert len(check("scanner/bad.py")) == 1
