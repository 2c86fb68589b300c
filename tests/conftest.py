"""Shared by all tests: where the book is, the same random numbers for each, and their order."""

import os
import random
from collections.abc import Iterator
from pathlib import Path

import hypothesis
import pytest
from IPython.core.interactiveshell import InteractiveShell
from IPython.utils.capture import CapturedIO, capture_output

from tests.folding import seed_all

ROOT = Path(__file__).resolve().parent.parent
os.environ.setdefault("HF_HUB_OFFLINE", "1")  # a test that would download fails instead
# A busy machine is no bug: no example has a time limit.
hypothesis.settings.register_profile("book", deadline=None)
hypothesis.settings.load_profile("book")


def pytest_addoption(parser: pytest.Parser) -> None:
    """`--shuffle 7` runs the files, and the tests in each, in another order."""
    parser.addoption("--shuffle", type=int, metavar="SEED", help="run tests in a random order")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Tests of a file stay together, since what a file's tests share is made once."""
    seed = config.getoption("--shuffle")
    if seed is None:
        return
    draw, files = random.Random(seed), {}
    for item in items:
        files.setdefault(item.path, []).append(item)
    groups = list(files.values())
    draw.shuffle(groups)
    for group in groups:
        draw.shuffle(group)
    items[:] = [item for group in groups for item in group]


@pytest.fixture(scope="session")
def root() -> Path:
    """The folder of the book."""
    return ROOT


@pytest.fixture
def displayed() -> Iterator[CapturedIO]:
    """What a cell would show, in `.outputs`; `display` gives rich output only inside a shell."""
    InteractiveShell.instance()
    with capture_output() as captured:
        yield captured


@pytest.fixture(scope="module")
def two_threads() -> Iterator[None]:
    """PyTorch with two threads, whatever the machine has: engines then share out their work."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


@pytest.fixture(autouse=True)
def _seeded(request: pytest.FixtureRequest) -> None:
    """The same random numbers whatever ran before."""
    if request.node.get_closest_marker("browser"):
        return
    seed_all()
