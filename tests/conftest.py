"""Shared by all tests: where the book is, and the same random numbers for each."""

import os
import random
from pathlib import Path

import hypothesis
import pytest

ROOT = Path(__file__).resolve().parent.parent
os.environ.setdefault("HF_HUB_OFFLINE", "1")  # a test that would download fails instead
# A busy machine is no bug: no example has a time limit.
hypothesis.settings.register_profile("book", deadline=None)
hypothesis.settings.load_profile("book")


@pytest.fixture(scope="session")
def root() -> Path:
    """The folder of the book."""
    return ROOT


@pytest.fixture(autouse=True)
def _seeded(request: pytest.FixtureRequest) -> None:
    """The same random numbers whatever ran before."""
    if request.node.get_closest_marker("browser"):
        return
    import numpy as np
    import torch

    random.seed(0)
    np.random.seed(0)  # noqa: NPY002 - what a library draws from the old generator is seeded too
    torch.manual_seed(0)
