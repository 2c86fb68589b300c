"""The stage that plays other machines: what it chooses, and that it can fail."""

import os
import subprocess
import sys
from collections import Counter
from pathlib import Path

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_notebook, new_output

from tests.other_cpus import MACHINES, PART, ROOT, Play, chapters, machines, plan, todays

NAMES = [f"chapter_{number:02}" for number in range(14)]
PLAYERS = list(MACHINES)


@pytest.mark.parametrize("seed", [0, 1, 2, 20_787])
def test_a_run_takes_a_third_and_no_notebook_twice(seed: int):
    chosen = [name for play in plan(seed, NAMES, PLAYERS, False) for name in play.chapters]
    assert len(chosen) in {len(NAMES) // PART, -(-len(NAMES) // PART)}
    assert len(set(chosen)) == len(chosen)


@pytest.mark.parametrize("start", [0, 7, 20_787])
def test_every_notebook_meets_every_machine_once_in_a_round(start: int):
    met = Counter(
        (play.machine, name)
        for seed in range(start, start + PART * len(PLAYERS))
        for play in plan(seed, NAMES, PLAYERS, False)
        for name in play.chapters
    )
    assert met == Counter({(machine, name): 1 for machine in PLAYERS for name in NAMES})


def test_one_run_plays_several_machines():
    assert len(plan(0, NAMES, PLAYERS, False)) >= 4


def test_the_full_run_is_everything():
    plays = plan(5, NAMES, PLAYERS, True)
    assert [play.machine for play in plays] == PLAYERS
    assert all(list(play.chapters) == NAMES for play in plays)


def test_the_environment_sets_day_and_fullness(monkeypatch: pytest.MonkeyPatch, capsys):
    monkeypatch.delenv("LLMLIB_FULL", raising=False)
    monkeypatch.setenv("LLMLIB_DAY", "4")
    assert todays() == plan(4, chapters(), machines(), False)
    assert "LLMLIB_DAY=4" in capsys.readouterr().out
    monkeypatch.setenv("LLMLIB_FULL", "1")
    assert todays() == plan(4, chapters(), machines(), True)


def test_four_machines_differ_in_hash_seed_and_threads():
    for variable, least in (("PYTHONHASHSEED", len(MACHINES)), ("OMP_NUM_THREADS", 3)):
        assert len({environment[variable] for environment in MACHINES.values()}) >= least
    assert {"no_avx", "one_thread", "three_threads"} <= set(machines())


def stored(folder: Path, name: str, capability: str) -> str:
    """A notebook whose stored output is PyTorch's instruction set."""
    source = "import torch\nprint(torch.backends.cpu.get_cpu_capability())"
    text = new_output("stream", name="stdout", text=f"{capability}\n")
    cell = new_code_cell(source, execution_count=1, outputs=[text])
    kernel = {"display_name": "Python 3", "language": "python", "name": "python3"}
    path = folder / f"{name}.ipynb"
    nbformat.write(new_notebook(cells=[cell], metadata={"kernelspec": kernel}), path)
    return str(path)


def test_the_stage_fails_where_only_the_author_s_machine_gives_the_output(tmp_path: Path):
    """Without AVX PyTorch reports DEFAULT; a notebook that stored something else must fail."""
    play = Play("no_avx", ())
    files = [stored(tmp_path, "right", "DEFAULT"), stored(tmp_path, "wrong", "AVX2")]
    command = [sys.executable, "-m", "pytest", "-q", *play.arguments, "-p", "no:cacheprovider"]
    found = subprocess.run(
        [*command, *files], cwd=ROOT, env={**os.environ, **play.environment},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert found.returncode == 1, found.stdout[-2000:]
    assert "1 failed, 1 passed" in found.stdout
    assert "wrong.ipynb" in found.stdout
