"""`prelabel predictions`, as it is typed, without a Label Studio."""

from contextlib import nullcontext
from types import SimpleNamespace

import pytest
from typer.testing import CliRunner

from prelabel.assembly import parts
from prelabel.cli.predictions import predictions


@pytest.fixture
def ended(monkeypatch):
    """Runs `prelabel predictions` on a project whose backend is titled like a version."""
    studio = SimpleNamespace(model_versions=lambda project: {"rtmlib-balanced": 3, "prelabel": 0})
    monkeypatch.setattr(parts, "label_studio", lambda settings: nullcontext(studio))
    return lambda *words: CliRunner().invoke(predictions, [*words, "--project", "1"])


def test_the_title_of_a_backend_is_not_listed_as_a_version(ended):
    assert ended("list").stdout.split() == ["3", "rtmlib-balanced"]
    refused = ended("delete", "--model-version", "prelabel").exception
    assert "it has: rtmlib-balanced)" in str(refused)
