"""What was found for some sources counts for those alone: any change has it computed anew."""

import importlib.metadata
import json
import shutil
from pathlib import Path

import pytest

from tests.kernels.verified import KINDS, ROOT, STORED, TABLE, fingerprint, holds, imported

FILES = {kind: imported(start) for kind, (start, _, _) in KINDS.items()}


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """The files that count, elsewhere, with the fingerprints of their state."""
    for file in {*FILES["compiled"], *FILES["planted"], TABLE}:
        (tmp_path / file).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / file, tmp_path / file)
    stored = {kind: fingerprint(kind, tmp_path) for kind in KINDS}
    (tmp_path / STORED).write_text(json.dumps(stored))
    assert all(holds(kind, tmp_path) for kind in KINDS)
    return tmp_path


def test_a_change_of_any_file_that_counts_is_seen(copy: Path) -> None:
    unseen = []
    for file in {*FILES["compiled"], *FILES["planted"], TABLE}:
        path = copy / file
        before = path.read_bytes()
        path.write_bytes(before.replace(b"\n", b"\n\n", 1))
        counts = {
            kind for kind in KINDS if file in FILES[kind] or (kind == "compiled" and file == TABLE)
        }
        if {kind for kind in KINDS if not holds(kind, copy)} != counts:
            unseen.append(file)
        path.write_bytes(before)
    assert unseen == []
    assert all(holds(kind, copy) for kind in KINDS)


def test_a_planted_change_of_a_kernel_is_compiled_and_planted_again(copy: Path) -> None:
    path = copy / "llmlib" / "flash_attention" / "triton_kernels.py"
    source = path.read_text()
    assert source.count("visible &= behind >= 0") == 1
    path.write_text(source.replace("visible &= behind >= 0", "visible &= behind >= -1"))
    assert not holds("compiled", copy)
    assert not holds("planted", copy)


def test_a_table_of_other_sources_does_not_hold(copy: Path) -> None:
    """Somebody types a better number: it is compiled anew, and compared."""
    path = copy / TABLE
    path.write_text(path.read_text().replace("\t255\t", "\t254\t", 1))
    assert not holds("compiled", copy)
    assert holds("planted", copy)


@pytest.mark.parametrize(("package", "kinds"), [("triton", set(KINDS)), ("torch", {"planted"})])
def test_another_version_is_another_outcome(
    copy: Path, package: str, kinds: set[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    real = importlib.metadata.version
    monkeypatch.setattr(
        importlib.metadata, "version", lambda name: "0.0" if name == package else real(name)
    )
    assert {kind for kind in KINDS if not holds(kind, copy)} == kinds


def test_nothing_stored_holds_nothing(copy: Path) -> None:
    (copy / STORED).write_text("{}")
    assert not any(holds(kind, copy) for kind in KINDS)


def test_all_kernels_and_their_launcher_count() -> None:
    names = {file.name for file in FILES["planted"] if file.parent.name == "flash_attention"}
    assert {path.name for path in (ROOT / "llmlib" / "flash_attention").glob("*.py")} == names
    assert {path.name for path in (ROOT / "tests" / "kernels").glob("*.py")} <= {
        *(file.name for file in FILES["planted"] + FILES["compiled"]),
        *("__init__.py", "verified.py"),
    }
    kernels = {file.name for file in FILES["compiled"]}
    assert kernels >= {"triton_kernels.py", "triton_backward.py", "triton_decode.py", "tiles.py"}
