import subprocess
import sys
from pathlib import Path

import indexes
from indexes import IndexesError, errors

PACKAGE = Path(indexes.__file__).parent


def test_importing_the_package_imports_nothing_heavy():
    code = "import sys, indexes; print(sorted({'faiss', 'pyarrow', 'numpy', 'torch'} & set(sys.modules)))"

    shown = subprocess.run([sys.executable, "-c", code], cwd=PACKAGE.parent, capture_output=True, text=True, check=True)

    assert shown.stdout == "[]\n"


def test_every_public_name_is_there():
    assert [name for name in indexes.__all__ if not hasattr(indexes, name)] == []
    assert not hasattr(indexes, "search")


def test_only_one_module_imports_faiss():
    importers = {
        path.name
        for path in PACKAGE.glob("*.py")
        if "import faiss\n" in path.read_text().replace("import faiss  #", "import faiss\n#")
    }

    assert importers == {"faiss_lib.py"}


def test_the_other_word_for_score_does_not_occur():
    assert [path.name for path in PACKAGE.glob("*.py") if "distance" in path.read_text()] == []


def test_every_error_is_in_the_tree_of_the_docstring():
    names = {
        name for name, value in vars(errors).items() if isinstance(value, type) and issubclass(value, IndexesError)
    }

    assert {name for name in names if name in (errors.__doc__ or "")} == names
