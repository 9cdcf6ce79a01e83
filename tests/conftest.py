"""Fixtures that every room's tests may use."""

import os
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of photos, weights and tracks that tests measure on, where it lies."""
    folder = Path(os.environ.get("PRELABEL_TEST_DATA", REPOSITORY.parent / "shared" / "data"))
    if not (folder / "images").is_dir():
        pytest.skip(f"no test data in {folder}; set PRELABEL_TEST_DATA to a folder that holds it")
    return folder
