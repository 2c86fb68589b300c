"""No chapter and no test reaches into the library: what they show and hold is what readers have.

A patch of a name that is no longer called does nothing, in silence; a private name may go any day.
So neither patches, sets or imports what is inside llmlib: what has to be chosen is an argument.
"""

import ast
import functools
import json
from pathlib import Path

import pytest

from tests.conftest import ROOT

MOCKS = ("patch", "object", "dict", "multiple")  # unittest.mock.patch and its methods
SETTERS = ("setattr", "delattr", "setitem", "delitem")  # of pytest's monkeypatch


def is_private(name: str) -> bool:
    """`_x`; neither `__x__` nor what IPython or PyTorch looks up, such as `_repr_html_`."""
    return name.startswith("_") and not name.endswith("_")


@functools.cache
def private_names() -> frozenset[str]:
    """Every private name that the library defines: functions, classes, attributes, constants."""
    found = set()
    for path in (ROOT / "llmlib").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.FunctionDef | ast.ClassDef):
                found.add(node.name)
            elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
                found.add(node.id)
            elif isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store):
                found.add(node.attr)
            if path.stem.startswith("_"):
                found.add(path.stem)
    return frozenset(filter(is_private, found))


class Names(ast.NodeVisitor):
    """Where the names of a file come from: the library, another package, or the file itself."""

    def __init__(self, tree: ast.AST) -> None:
        self.source: dict[str, str] = {}
        self.own: set[str] = set()
        self.visit(tree)

    def visit_Import(self, node: ast.Import) -> None:
        for alias in node.names:
            name = alias.asname or alias.name.partition(".")[0]
            self.source[name] = alias.name

    def visit_ImportFrom(self, node: ast.ImportFrom) -> None:
        for alias in node.names:
            self.source[alias.asname or alias.name] = f"{node.module}.{alias.name}"

    def visit_FunctionDef(self, node: ast.FunctionDef) -> None:
        self.own.add(node.name)
        self.generic_visit(node)

    def visit_Attribute(self, node: ast.Attribute) -> None:
        if isinstance(node.ctx, ast.Store) and root(node) == "self":
            self.own.add(node.attr)
        self.generic_visit(node)

    def visit_Assign(self, node: ast.Assign) -> None:
        """`other = module.Class` is the same by another name."""
        if isinstance(node.value, ast.Name | ast.Attribute) and self.origin(node.value):
            plain = [target.id for target in node.targets if isinstance(target, ast.Name)]
            self.source.update(dict.fromkeys(plain, str(self.origin(node.value))))
        self.generic_visit(node)

    def origin(self, node: ast.AST, through_calls: bool = True) -> str | None:
        """The package that an expression such as `a.b.c` starts from; None: a local value."""
        return self.source.get(root(node, through_calls))


def root(node: ast.AST, through_calls: bool = True) -> str:
    """The name that a chain of attributes and indices starts from; what a call returns is new."""
    while isinstance(node, ast.Attribute | ast.Subscript | ast.Call):
        if isinstance(node, ast.Call):
            if not through_calls:
                return ""
            node = node.func
        else:
            node = node.value
    return node.id if isinstance(node, ast.Name) else ""


def is_ours(origin: str | None) -> bool:
    """Whether a dotted name belongs to the library."""
    return origin is not None and origin.split(".")[0] == "llmlib"


def patched(call: ast.Call, names: Names) -> bool:
    """Whether a call of mock or monkeypatch replaces something of ours, or of nobody knows whom."""
    if not call.args:
        return True
    target = call.args[0]
    if isinstance(target, ast.Constant):
        return is_ours(str(target.value))
    origin = names.origin(target)
    return origin is None or is_ours(origin)


def patches(call: ast.Call, names: Names) -> bool:
    """Whether a call replaces something of ours."""
    whole, last = ast.unparse(call.func), ast.unparse(call.func).rpartition(".")[2]
    mocks = last == "patch" or (last in MOCKS and ".patch." in f".{whole}")
    if mocks or (last in SETTERS and "." in whole):
        return patched(call, names)
    if whole in ("setattr", "delattr"):
        return is_ours(names.origin(call.args[0]))
    # A frozen value is changed behind its back.
    return whole.endswith(("object.__setattr__", "object.__delattr__"))


def imports_private(node: ast.ImportFrom) -> bool:
    """`from llmlib.module import _name`, or from a private module."""
    parts = [*str(node.module).split("."), *(alias.name for alias in node.names)]
    return is_ours(node.module) and any(map(is_private, parts))


def sets(node: ast.Attribute | ast.Subscript, names: Names) -> bool:
    """Whether `module.NAME`, `Class.name` or `TABLE["key"]` of ours is set or deleted."""
    return isinstance(node.ctx, ast.Store | ast.Del) and is_ours(names.origin(node, False))


def is_inside(node: ast.Attribute, names: Names) -> bool:
    """Whether a private name of ours is read."""
    own = root(node) in ("self", "cls") and node.attr in names.own
    return is_private(node.attr) and node.attr in private_names() and not own


def offences(source: str) -> list[str]:
    """Where a file or a notebook's code reaches into the library."""
    tree = ast.parse(source)
    names = Names(tree)
    found = [
        node
        for node in ast.walk(tree)
        if (isinstance(node, ast.Call) and patches(node, names))
        or (isinstance(node, ast.ImportFrom) and imports_private(node))
        or (isinstance(node, ast.Attribute | ast.Subscript) and sets(node, names))
        or (isinstance(node, ast.Attribute) and is_inside(node, names))
    ]
    return [f"{node.lineno}: {ast.unparse(node)}" for node in found]


def notebook_source(path: Path) -> str:
    """The code of all cells, without the lines of IPython's own syntax."""
    cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
    text = "\n".join("".join(cell["source"]) for cell in cells if cell["cell_type"] == "code")
    return "\n".join(line for line in text.split("\n") if not line.startswith(("%", "!")))


def test_no_test_reaches_into_the_library() -> None:
    paths = sorted((ROOT / "tests").rglob("*.py"))
    found = {
        str(path.relative_to(ROOT)): wrong
        for path in paths
        if (wrong := offences(path.read_text(encoding="utf-8")))
    }
    assert found == {}


def test_no_chapter_reaches_into_the_library() -> None:
    paths = sorted((ROOT / "chapters").glob("*.ipynb"))
    found = {path.stem: wrong for path in paths if (wrong := offences(notebook_source(path)))}
    assert found == {}


# --- the rule itself ----------------------------------------------------------------------------

FORBIDDEN = [
    "from unittest.mock import patch\npatch('llmlib.attention.attend', plain)",
    "from unittest import mock\nimport llmlib.decoder as d\nmock.patch.object(d, 'generate')",
    "import unittest.mock as m\nm.patch.dict('llmlib.model_cards.CARDS', {})",
    "from unittest.mock import patch\npatch.multiple('llmlib.kv_cache', KVCache=None)",
    "def test(monkeypatch, model):\n    monkeypatch.setattr(model, 'stream', None)",
    "def test(monkeypatch):\n    monkeypatch.setattr('llmlib.formats.gguf.PIECE', 100)",
    "from llmlib.flash_attention import blocked\ndef test(monkeypatch):\n"
    "    monkeypatch.setattr(blocked, 'KEYS', 8)",
    "from llmlib.flash_attention import blocked\nimport pytest\n"
    "with pytest.MonkeyPatch.context() as m:\n    m.setattr(blocked, 'KEYS', 8)",
    "from llmlib.flash_attention import blocked\nother = blocked\nother.KEYS = 8",
    "from llmlib.model_cards import CARDS\nCARDS['mine'] = None",
    "from unittest.mock import patch\n@patch('llmlib.decoder.generate')\ndef test(): ...",
    "import llmlib.training\nsetattr(llmlib.training, 'train', None)",
    "from llmlib.flash_attention import blocked\nblocked.KEYS = 8",
    "from llmlib.kv_cache import KVCache\nKVCache.layer = None",
    "import llmlib.training\ndel llmlib.training.train",
    "from llmlib.accounting.parameters import _attention",
    "model._initialize(x)",
    "from llmlib.decoder import Decoder\nclass Mine(Decoder):\n"
    "    def f(self):\n        return self._initialize(1)",
    "object.__setattr__(net.config, 'context', 17)",
]
ALLOWED = [
    "import sys\ndef test(monkeypatch):\n    monkeypatch.setitem(sys.modules, 'triton', None)",
    "import importlib.machinery\ndef test(monkeypatch):\n"
    "    monkeypatch.setattr(importlib.machinery.PathFinder, 'find_spec', None)",
    "from unittest import mock\nimport torch\nmock.patch.object(torch, 'zeros')",
    "def test(monkeypatch, tmp_path):\n    monkeypatch.chdir(tmp_path)",
    "import torch\ntorch._C._len_torch_dispatch_stack()",
    "class Mine:\n    def __init__(self):\n        self._cache = {}\n"
    "    def f(self):\n        return self._cache",
    "ax.add_patch(1)",
    "from llmlib.decoder import Decoder\nmodel = Decoder(c)\nmodel.norm.weight.data = x",
    "from llmlib.book import claim\nclaim('a._b', 'text', 1, 2)",
    "from llmlib.model_cards import card\ncard('GPT-2').year = 2020",  # raises: it is frozen
]


@pytest.mark.parametrize("source", FORBIDDEN)
def test_each_way_to_reach_in_is_seen(source: str) -> None:
    assert offences(source) != []


@pytest.mark.parametrize("source", ALLOWED)
def test_what_is_not_ours_may_be_replaced(source: str) -> None:
    assert offences(source) == []
