"""A printed flash attention as it stands, and its repair one step at a time.

The listing lies beside this file as it was printed. Each repair is a set of replacements in the
version before it, each of which must fit exactly once, so no version is typed twice and the page
can show what a step changes.
"""

import builtins
import difflib
import dis
import html
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import CodeType
from typing import Any

from IPython.display import HTML, Markdown, display

_FILE = Path(__file__).with_name("listing.txt")


@dataclass(frozen=True)
class Repair:
    """One step: its name, the erratum that it mends, and (old text, new text) pairs."""

    name: str
    erratum: str
    changes: tuple[tuple[str, str], ...]

    def apply(self, text: str) -> str:
        """The text with every change made.

        Raises:
            ValueError: a change whose old text does not stand in the text exactly once.
        """
        for old, new in self.changes:
            if (times := text.count(old)) != 1:
                raise ValueError(f"{self.name}: {old!r} occurs {times} times, expected once")
            text = text.replace(old, new)
        return text


IMPORTS = Repair("imports", "E0-09", ((
    "# Flash Attention Implementation\n",
    """import math

import torch
import torch.utils.checkpoint
from torch import nn


# Flash Attention Implementation
"""), (
    "class MemoryEfficientTransformer(nn.Module):\n",
    """class TransformerLayer(nn.TransformerEncoderLayer):
    def __init__(self, config):
        super().__init__(config.dim, config.n_heads, config.ffn_dim, batch_first=True)


class MemoryEfficientTransformer(nn.Module):
"""),
))  # fmt: skip

SHAPE = Repair("shape", "E0-01", ((
    "torch.exp(m.unsqueeze(-1) - m_new.unsqueeze(-1))",
    "torch.exp(m - m_new)"),
))  # fmt: skip

START = Repair("start", "E0-02", ((
    "    m = torch.zeros(batch_size, num_heads, seq_len, device=q.device)\n",
    "    m = torch.full((batch_size, num_heads, seq_len), -math.inf, device=q.device)\n"),
))  # fmt: skip

MASK = Repair("mask", "E0-04", ((
    "def flash_attention(q, k, v, sm_scale=None):\n",
    "def flash_attention(q, k, v, sm_scale=None, causal=False, window=math.inf):\n"), (
    """    block_size = min(256, seq_len)
    for block_start in range(0, seq_len, block_size):
        block_end = min(block_start + block_size, seq_len)
""",
    """    seq_k = k.shape[2]
    block_size = min(256, seq_k)
    for block_start in range(0, seq_k, block_size):
        block_end = min(block_start + block_size, seq_k)
"""), (
    """.transpose(-2, -1)) * sm_scale
""",
    """.transpose(-2, -1)) * sm_scale
        if causal:  # the last query stands at the last key
            i = torch.arange(seq_k - seq_len, seq_k, device=q.device).unsqueeze(-1)
            j = torch.arange(block_start, block_end, device=q.device)
            hidden = (j > i) | (i - j >= window)
            current_scores = current_scores.masked_fill(hidden, -math.inf)
"""),
))  # fmt: skip

GUARD = Repair("guard", "E0-03", ((
    "        exp_diff = torch.exp(m - m_new)\n",
    """        shift = m_new.masked_fill(m_new == -math.inf, 0)  # nothing seen yet
        exp_diff = torch.exp(m - shift)
"""), (
    "torch.exp(current_scores - m_new.unsqueeze(-1))",
    "torch.exp(current_scores - shift.unsqueeze(-1))"), (
    "    return out / l.unsqueeze(-1)\n",
    "    return out / l.masked_fill(l == 0, 1).unsqueeze(-1)  # no key at all: zeros\n"),
))  # fmt: skip

DTYPE = Repair("dtype", "E0-05", ((
    "    out = torch.zeros_like(q)\n",
    """    kind = torch.promote_types(q.dtype, torch.float32)
    out = torch.zeros_like(q, dtype=kind)
"""), (
    """    m = torch.full((batch_size, num_heads, seq_len), -math.inf, device=q.device)
    l = torch.zeros(batch_size, num_heads, seq_len, device=q.device)
""",
    """    l = torch.zeros(batch_size, num_heads, seq_len, dtype=kind, device=q.device)
    m = torch.full_like(l, -math.inf)
"""), (
    "k_block = k[:, :, block_start:block_end]\n",
    "k_block = k[:, :, block_start:block_end].to(kind)\n"), (
    "v_block = v[:, :, block_start:block_end]\n",
    "v_block = v[:, :, block_start:block_end].to(kind)\n"), (
    "torch.matmul(q, k_block", "torch.matmul(q.to(kind), k_block"), (
    "    return out / l.masked_fill(l == 0, 1).unsqueeze(-1)  # no key at all: zeros\n",
    """    out = out / l.masked_fill(l == 0, 1).unsqueeze(-1)  # no key at all: zeros
    return out.to(q.dtype)
"""),
))  # fmt: skip

QUERIES = Repair("queries", "E0-07", ((
    "def flash_attention(q, k, v, sm_scale=None, causal=False, window=math.inf):\n",
    "def attend(q, k, v, sm_scale, causal, window, first):\n"), (
    """    seq_k = k.shape[2]
    block_size = min(256, seq_k)
    for block_start in range(0, seq_k, block_size):
        block_end = min(block_start + block_size, seq_k)
""",
    """    block_size = 256
    begin, end = 0, k.shape[2]
    if causal:  # keys that none of these queries sees are not even read
        begin, end = max(0, first - window + 1), first + seq_len
    for block_start in range(begin, end, block_size):
        block_end = min(block_start + block_size, end)
"""), (
    "torch.arange(seq_k - seq_len, seq_k, device", "torch.arange(first, first + seq_len, device"), (
    """    return out.to(q.dtype)
""",
    """    return out.to(q.dtype)


def flash_attention(q, k, v, sm_scale=None, causal=False, window=math.inf):
    shift, rows = k.shape[2] - q.shape[2], 256
    tiles = [
        attend(q[:, :, i : i + rows], k, v, sm_scale, causal, window, i + shift)
        for i in range(0, q.shape[2], rows)
    ]
    return torch.cat(tiles, dim=2)
"""),
))  # fmt: skip

SRAM = Repair("sram", "E0-08", ((
    "def attend(q, k, v, sm_scale, causal, window, first):\n",
    "def attend(q, k, v, sm_scale, causal, window, first, block_size):\n"), (
    "    block_size = 256\n", ""), (
    """def flash_attention(q, k, v, sm_scale=None, causal=False, window=math.inf):
    shift, rows = k.shape[2] - q.shape[2], 256
""",
    """def tile_rows(head_dim, sram):
    # Tiles of q, k, v, out and their scores: 4 rows d + rows² numbers of 4 bytes
    rows = math.sqrt(4 * head_dim**2 + sram / 4) - 2 * head_dim
    return max(16, int(rows) // 16 * 16)


def flash_attention(
    q, k, v, sm_scale=None, causal=False, window=math.inf, sram=100 * 1024
):
    shift, rows = k.shape[2] - q.shape[2], tile_rows(q.shape[3], sram)
"""), (
    "causal, window, i + shift)\n", "causal, window, i + shift, rows)\n"),
))  # fmt: skip

REPAIRS = (IMPORTS, SHAPE, START, MASK, GUARD, DTYPE, QUERIES, SRAM)
NAMES = ("printed", *(repair.name for repair in REPAIRS))


def version(name: str) -> str:
    """The listing as printed, or after the repairs up to and with the one of this name.

    Raises:
        ValueError: no version has this name.
    """
    if name not in NAMES:
        raise ValueError(f"no version {name!r}; expected one of {', '.join(NAMES)}")
    text = _FILE.read_text(encoding="utf-8")
    for repair in REPAIRS[: NAMES.index(name)]:
        text = repair.apply(text)
    return text


def run(name: str) -> dict[str, Any]:
    """Runs a version in a fresh namespace and returns that."""
    return execute(version(name), name)


def execute(text: str, name: str = "as given") -> dict[str, Any]:
    """Runs a text in a fresh namespace and returns that."""
    space: dict[str, Any] = {"__name__": "listing"}
    exec(compile(text, f"<listing: {name}>", "exec"), space)
    return space


def load(name: str) -> Callable[..., Any]:
    """The function `flash_attention` of a version; `printed` is lent the imports it lacks."""
    return run("imports" if name == "printed" else name)["flash_attention"]


def missing_names(text: str) -> list[str]:
    """The names that a program reads and neither it nor Python defines."""
    read, bound = set(), set(dir(builtins))
    for code in _codes(compile(text, "<listing>", "exec")):
        for step in dis.get_instructions(code):
            if step.opname in ("LOAD_NAME", "LOAD_GLOBAL"):
                read.add(str(step.argval))
            elif step.opname in ("STORE_NAME", "STORE_GLOBAL"):
                bound.add(str(step.argval))
    return sorted(read - bound - {"__name__", "__module__", "__qualname__"})


def _codes(code: CodeType) -> Iterator[CodeType]:
    yield code
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _codes(constant)


def diff(name: str) -> list[str]:
    """The lines that a repair takes out and puts in, each with the line before it.

    "⋮" stands for lines that stay as they are.
    """
    place = NAMES.index(name)
    before, after = (version(NAMES[k]).splitlines() for k in (place - 1, place))
    lines = list(difflib.unified_diff(before, after, n=1, lineterm=""))[3:]
    kept = [line for line in lines if line.strip()]  # not the empty lines around a change
    return ["⋮" if line.startswith("@@") else line for line in kept]


def show_repair(name: str) -> None:
    """Shows what a repair changes, as a diff that the reader opens."""
    kinds = {"-": "del", "+": "ins", "⋮": "i"}
    rows = []
    for line in diff(name):
        tag = kinds.get(line[0], "span")
        rows.append(f"<{tag}>{html.escape(line)}</{tag}>")
    label = f"The repair {name}: lines with a minus go, lines with a plus come"
    head = f'<pre class="lm-diff" role="region" tabindex="0" aria-label="{label}">'
    folded = f"<details><summary>Open the repair: {name}</summary>{head}"
    display(HTML(folded + "\n".join(rows) + "</pre></details>"))


def show_version(name: str) -> None:
    """Shows the flash attention of a version, without the class that the listing goes on with."""
    text = version(name).split("\n# Memory-Efficient Transformer")[0]
    display(Markdown("```python\n" + text.strip() + "\n```"))
