"""Damaged bytes in any file of a dataset: the sequence is read, or refused by an error that says so, and nothing else happens."""

import shutil
from contextlib import suppress
from pathlib import Path

import pytest
from dataset_files import write_arctic, write_egodex, write_hoi4d, write_holoassist, write_hot3d
from hypothesis import given
from hypothesis import strategies as st
from mano_files import write_official_folder
from test_any_files import damaged, damages, many

from h2w_ros.imports.dataset import ImportOptions
from h2w_ros.imports.datasets import dataset

WRITERS = {
    "arctic": lambda root, mano: write_arctic(root, mano, num_frames=2),
    "hot3d": lambda root, mano: write_hot3d(root / "clip-1.tar", mano, num_frames=1),
    "hoi4d": lambda root, mano: write_hoi4d(root, mano, num_frames=2),
    "egodex": lambda root, mano: write_egodex(root / "task" / "1", num_frames=2),
    "holoassist": lambda root, mano: write_holoassist(root / "session", num_frames=2),
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Every dataset in small."""
    folder = tmp_path_factory.mktemp("datasets")
    with pytest.MonkeyPatch.context() as patched:
        (folder / "mano").mkdir()
        write_official_folder(folder / "mano", patched)
    for name, write in WRITERS.items():
        write(folder / name, folder / "mano")
    return folder


@pytest.mark.parametrize("name", WRITERS)
@many(12)
@given(which=st.integers(0, 99), damages=damages)
def test_damage_is_said_or_does_no_harm(folder: Path, name: str, which: int, damages: list) -> None:
    files = sorted(path for path in (folder / name).rglob("*") if path.is_file())
    file = files[which % len(files)]
    whole = file.read_bytes()
    try:
        file.write_bytes(damaged(whole, damages))
        with suppress(ValueError, OSError):  # any other error is a fault of ours
            read_everything(name, folder)
    finally:
        file.write_bytes(whole)


def read_everything(name: str, folder: Path) -> None:
    row = dataset(name)
    for sequence in row.sequences(folder / name):
        for _ in row.opens(folder / name, sequence, ImportOptions(mano=folder / "mano")).conditions():
            pass


@pytest.mark.parametrize("name", WRITERS)
def test_what_is_missing_is_said(folder: Path, name: str, tmp_path: Path) -> None:
    """Each file of a sequence in turn is not there; pictures of single frames may be."""
    files = [path.relative_to(folder / name) for path in sorted((folder / name).rglob("*")) if path.is_file()]
    for missing in files:
        shutil.copytree(folder / name, tmp_path / name)
        (tmp_path / name / missing).unlink()
        row = dataset(name)
        for sequence in row.sequences(tmp_path / name):
            if missing.suffix in (".jpg", ".pickle"):
                continue
            with pytest.raises((FileNotFoundError, ValueError), match=r"\w"):
                list(row.opens(tmp_path / name, sequence, ImportOptions(mano=folder / "mano")).conditions())
        shutil.rmtree(tmp_path / name)
