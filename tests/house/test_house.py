"""The rules of the house: what may import what, how long things are, what a notebook must hold."""

import ast
import functools
import importlib
import json
import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]
MODULES = sorted((ROOT / "llmlib").rglob("*.py"))
NOTEBOOKS = sorted((ROOT / "chapters").glob("*.ipynb"))
# Every room of the library stands on a floor, and imports from its own and those below.
FLOORS = {
    "ground": {"", "sizes", "shapes", "checks", "plain", "precision", "formats"},
    "description": {"architecture"},
    "counting": {"model_cards", "accounting"},
    "parts": {
        *("tokenization", "normalization", "activations", "position_encoding", "attention"),
        *("sparse_attention", "flash_attention", "kv_cache", "quantization", "sampling"),
        *("training",),
    },
    "models": {
        *(
            "positions",
            "source",
            "blocks",
            "ends",
            "stack",
            "decoder",
            "encoder",
            "encoder_decoder",
        ),
        "pretrained",
    },
    "book": {"book"},
}
# Who may read the description of a model: what counts, names, builds and loads one.
ASSEMBLERS = {"architecture", *FLOORS["counting"], *FLOORS["models"], "book"}
CLAIM_MIME = "application/vnd.llmlib.claim+json"
FILE_LINES, FUNCTION_LINES, CELL_LINES = 400, 40, 25
CONTRACT = {
    "llmlib.architecture": [
        *("ModelConfig", "Stack", "Run", "repeat", "Block", "Attention", "Latent", "FeedForward"),
        *("Experts", "Norm", "Rope"),
    ],
    "llmlib.normalization": ["layer_norm", "rms_norm", "LayerNorm", "RMSNorm"],
    "llmlib.activations": [
        *("relu", "gelu", "swish", "glu", "reglu", "geglu", "swiglu"),
        *("FeedForward", "GatedFeedForward"),
    ],
    "llmlib.position_encoding": [
        *("sinusoidal", "alibi_slopes", "alibi_bias", "t5_bucket"),
        *("rope_frequencies", "rotate", "rope_matrix"),
    ],
    "llmlib.attention": ["reference_attention", "Attention", "LatentAttention"],
    "llmlib.sparse_attention": [
        *("sliding_window_mask", "longformer_mask", "bigbird_mask", "linear_attention"),
    ],
    "llmlib.flash_attention": ["flash_attention", "flash_attention_packed"],
    "llmlib.kv_cache": ["KVCache", "RollingKVCache", "LatentKVCache", "QuantizedKVCache"],
    "llmlib.sampling": ["greedy", "Sampler"],
    "llmlib.tokenization": [
        *("BPETokenizer", "ByteLevelBPETokenizer", "WordPieceTokenizer", "UnigramTokenizer"),
    ],
    "llmlib.decoder": ["DecoderConfig", "Decoder", "generate"],
    "llmlib.encoder": ["Encoder"],
    "llmlib.encoder_decoder": ["EncoderDecoder", "generate"],
    "llmlib.pretrained": [
        *("load", "load_tokenizer", "load_gguf", "open_model", "smollm2", "minilm"),
    ],
    "llmlib.training": ["train"],
    "llmlib.model_cards": ["CARDS", "card"],
    "llmlib.accounting": ["parameters", "forward_flops", "kv_cache_bytes", "training_bytes"],
    "llmlib.book": ["claim", "exercise", "use_style"],
}


def dotted(path: Path) -> str:
    """llmlib/book/claim.py -> llmlib.book.claim"""
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


NAMES = {dotted(path): path for path in MODULES}


@functools.cache
def parsed(path: Path) -> ast.Module:
    """A file's syntax tree."""
    return ast.parse(path.read_text(encoding="utf-8"))


@functools.cache
def imports(path: Path) -> frozenset[str]:
    """The modules of llmlib that a file imports, wherever in the file it does."""
    found = set()
    for node in ast.walk(parsed(path)):
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import; write it whole"
            for alias in node.names:
                inner = f"{node.module}.{alias.name}"
                found.add(inner if inner in NAMES else str(node.module))
    return frozenset(name for name in found if name in NAMES) - {dotted(path)}


def reaches(start: str) -> set[str]:
    """Everything that a module imports, directly or through others."""
    seen: set[str] = set()
    waiting = [start]
    while waiting:
        for name in imports(NAMES[waiting.pop()]) - seen:
            seen.add(name)
            waiting.append(name)
    return seen


def room(name: str) -> str:
    """llmlib.flash_attention.blocked -> flash_attention"""
    return [*name.split("."), ""][1]


def floor(name: str) -> int:
    """How high a module stands, from 0."""
    return next(height for height, rooms in enumerate(FLOORS.values()) if room(name) in rooms)


def test_every_room_stands_on_one_floor() -> None:
    placed = [one for rooms in FLOORS.values() for one in rooms]
    assert sorted(placed) == sorted({room(name) for name in NAMES})


def test_imports_point_down_and_make_no_circle() -> None:
    circles = [name for name in NAMES if name in reaches(name)]
    upward = [
        f"{name} imports {other}"
        for name, path in NAMES.items() for other in imports(path)
        if floor(other) > floor(name)
    ]  # fmt: skip
    assert (circles, upward) == ([], [])


def test_only_assemblers_read_the_description_and_name_its_parts_by_their_room() -> None:
    readers = {
        name for name, path in NAMES.items()
        if any(room(other) == "architecture" for other in imports(path))
    }  # fmt: skip
    assert {room(name) for name in readers} <= ASSEMBLERS
    taken = []
    for name in readers - {name for name in NAMES if room(name) == "architecture"}:
        for node in ast.walk(parsed(NAMES[name])):
            if isinstance(node, ast.ImportFrom) and node.module == "llmlib.architecture":
                taken += [f"{name}: {alias.name}" for alias in node.names
                          if alias.name in ("Attention", "FeedForward", "Block")]  # fmt: skip
    assert taken == []


def test_the_marked_way_is_as_long_as_it_says() -> None:
    way = ("decoder/reference.py", "architecture/mixers.py", "architecture/model.py", "blocks.py",
           "stack.py", "sampling.py")  # fmt: skip
    text = (ROOT / "llmlib" / "__init__.py").read_text(encoding="utf-8")
    assert all(f"`{file}`" in text for file in way)
    files = [(ROOT / "llmlib" / file).read_text(encoding="utf-8") for file in way]
    assert 900 < sum(len(file.splitlines()) for file in files) < 1000


def length(node: Any) -> int:
    """The lines of a function without its docstring."""
    documented = ast.get_docstring(node) is not None and len(node.body) > 1
    skipped = node.body[0].end_lineno - node.body[0].lineno + 1 if documented else 0
    return int(node.end_lineno - node.lineno + 1 - skipped)


def test_files_and_functions_are_short() -> None:
    files = {name: len(path.read_text("utf-8").splitlines()) for name, path in NAMES.items()}
    functions = {
        f"{name}.{node.name}": length(node)
        for name, path in NAMES.items() for node in ast.walk(parsed(path))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    }  # fmt: skip
    assert {name: lines for name, lines in files.items() if lines > FILE_LINES} == {}
    assert {name: lines for name, lines in functions.items() if lines > FUNCTION_LINES} == {}


def test_public_names_are_there() -> None:
    missing = [
        f"{module}.{name}"
        for module, names in CONTRACT.items() for name in names
        if not hasattr(importlib.import_module(module), name)
    ]  # fmt: skip
    assert missing == []


def names_in(node: ast.AST) -> set[str]:
    """Every name that a piece of code uses, as itself or behind a dot."""
    walked = list(ast.walk(node))
    plain = {part.id for part in walked if isinstance(part, ast.Name)}
    return plain | {part.attr for part in walked if isinstance(part, ast.Attribute)}


def held_equal() -> dict[str, bool]:
    """For each `reference_x` of the library: whether one test uses it and the fast `x`."""
    tests = [
        names_in(node)
        for path in sorted((ROOT / "tests").rglob("test_*.py"))
        for node in ast.walk(parsed(path)) if isinstance(node, ast.FunctionDef)
    ]  # fmt: skip
    plain = [
        node.name
        for path in MODULES for node in parsed(path).body
        if isinstance(node, ast.FunctionDef) and node.name.startswith("reference_")
    ]  # fmt: skip
    return {
        name: any({name, name.removeprefix("reference_")} <= used for used in tests)
        for name in plain
    }


def test_every_reference_is_held_equal_to_its_fast_form() -> None:
    pairs = held_equal()
    assert len(pairs) >= 4
    assert [name for name, held in pairs.items() if not held] == []


# --- notebooks ------------------------------------------------------------------------------


def cells(path: Path) -> list[dict[str, Any]]:
    """The cells of a notebook, their source as one string."""
    found = json.loads(path.read_text(encoding="utf-8"))["cells"]
    return [{**cell, "source": "".join(cell["source"])} for cell in found]


def code(path: Path) -> list[dict[str, Any]]:
    """The code cells of a notebook."""
    return [cell for cell in cells(path) if cell["cell_type"] == "code"]


def claims(source: str) -> Iterator[ast.Call]:
    """The calls of `claim` in a cell; lines of IPython's own syntax are left out."""
    plain = "\n".join(line for line in source.split("\n") if not line.startswith(("%", "!")))
    for node in ast.walk(ast.parse(plain)):
        name = getattr(node, "func", None)
        if isinstance(node, ast.Call) and getattr(name, "id", getattr(name, "attr", "")) == "claim":
            yield node


def argument(call: ast.Call, position: int, name: str) -> ast.expr:
    """An argument of a call, by its place or its name."""
    named = [keyword.value for keyword in call.keywords if keyword.arg == name]
    return named[0] if named else call.args[position]


def stored_claims(path: Path) -> list[str]:
    """The ids of the claims that a notebook's outputs hold, loops included."""
    outputs = [output.get("data", {}) for cell in code(path) for output in cell["outputs"]]
    stored = [data[CLAIM_MIME] for data in outputs if CLAIM_MIME in data]
    # A claim in the open stores itself, a fold the list of its claims.
    return [str(claim["id"]) for one in stored for claim in (one if type(one) is list else [one])]


def every_notebook(test: Any) -> Any:
    """Runs a test once for each chapter."""
    return pytest.mark.parametrize("path", NOTEBOOKS, ids=[p.stem for p in NOTEBOOKS])(test)


def test_there_are_notebooks() -> None:
    assert NOTEBOOKS


@every_notebook
def test_cells_are_short_and_were_run(path: Path) -> None:
    for cell in code(path):
        first = cell["source"].split("\n")[0]
        assert len(cell["source"].splitlines()) <= CELL_LINES, first
        # A cell without a count is never compared with what it gives today.
        assert cell["execution_count"] is not None, f"never run: {first}"
        for output in cell["outputs"]:
            assert output["output_type"] != "error", first
            assert output.get("name") != "stderr", f"writes to stderr: {first}"


@every_notebook
def test_claims_measure_something(path: Path) -> None:
    for cell in code(path):
        for call in claims(cell["source"]):
            parts = list(ast.walk(argument(call, 2, "measured")))
            assert any(isinstance(part, ast.Name | ast.Call) for part in parts), ast.unparse(call)


@every_notebook
def test_claims_bear_the_name_of_their_chapter(path: Path) -> None:
    ids = stored_claims(path)
    assert ids, "a chapter proves something"
    assert [name for name in ids if name.split(".")[0] != path.stem] == []


def test_claim_ids_are_unique() -> None:
    counts = Counter(name for path in NOTEBOOKS for name in stored_claims(path))
    assert [name for name, count in counts.items() if count > 1] == []


# --- what the book promises to cover --------------------------------------------------------


def test_every_promised_row_is_covered_and_every_erratum_proven() -> None:
    """tests/coverage.tsv holds one row a line: its id, a tab, its topic."""
    lines = (ROOT / "tests" / "coverage.tsv").read_text(encoding="utf-8").splitlines()
    rows = [line.split("\t") for line in lines if line.strip() and not line.startswith("#")]
    assert rows
    assert all(len(row) == 2 for row in rows), "each row is an id, a tab, a topic"
    assert [name for name, count in Counter(row[0] for row in rows).items() if count > 1] == []
    covered, unproven = set(), []
    for path in NOTEBOOKS:
        for cell in cells(path):
            tags = cell["metadata"].get("tags", [])
            covered.update(tag.split(":", 1)[1] for tag in tags if ":" in tag)
            errata = [tag for tag in tags if tag.startswith("erratum:")]
            is_code = cell["cell_type"] == "code"
            if errata and not (is_code and list(claims(cell["source"]))):
                unproven += errata
    assert [row[0] for row in rows if row[0] not in covered] == []
    assert unproven == []


def test_every_cited_key_is_in_the_bibliography() -> None:
    """Docstrings (`Source: key`) and model cards name papers by their key."""
    bibliography = (ROOT / "chapters" / "references.bib").read_text(encoding="utf-8")
    known = set(re.findall(r"^@\w+\{([^,]+),", bibliography, re.M))
    text = "\n".join(path.read_text(encoding="utf-8") for path in MODULES)
    sources = re.findall(r"Source: ([^\n]*)|source=\"([^\"]*)\"", text)
    key = r"\b[a-z]+(?:19|20)\d\d[a-z0-9]*\b"
    cited = {name for source in sources for part in source for name in re.findall(key, part)}
    assert cited
    assert sorted(cited - known) == []
