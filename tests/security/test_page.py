"""SECURITY.md and docs/security.md say what is."""

import re
from pathlib import Path

import pytest

from prelabel.media.limits import Limits
from prelabel.media.pixels import MOST_SCANS
from prelabel.server.connections import BODY_LOOK_S, HEAD_S, LEAST_BODY_BYTES, MOST_HEAD_BYTES
from prelabel.server.guard import WRONG_LOGINS
from prelabel.server.plans import LONGEST_CONFIG
from prelabel.settings import Settings, known_names

REPOSITORY = Path(__file__).resolve().parents[2]
POLICY = REPOSITORY / "SECURITY.md"
PAGE = REPOSITORY / "docs" / "security.md"
FOREIGN = {
    *("HTTP_PROXY", "NO_PROXY", "REQUESTS_CA_BUNDLE"),
    *("HF_HUB_DISABLE_TELEMETRY", "DO_NOT_TRACK"),
}


def rows(page):
    lines = [line for line in page.read_text("utf-8").splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]


@pytest.mark.parametrize("path", sorted(set(re.findall(r"`(tests/[\w/.]+)`", POLICY.read_text()))))
def test_every_test_that_the_threat_model_names_is_there(path):
    assert (REPOSITORY / path).exists()


def test_every_defence_but_the_audit_names_its_tests():
    threats = [row for row in rows(POLICY) if len(row) == 3 and row[0] not in ("threat", "who")]
    bare = [row[0] for row in threats if "tests/" not in row[2] and "---" not in row[0]]
    assert [one for one in bare if "dependency" in one] == ["A dependency with a known hole"]
    defended = [row for row in threats if "tests/" in row[2]]
    assert len(defended) > 15


def test_every_file_of_these_tests_is_named_in_the_threat_model():
    named = POLICY.read_text("utf-8")
    for path in Path(__file__).parent.glob("test_*.py"):
        assert path.name in named or path.name == Path(__file__).name


@pytest.mark.parametrize("page", [POLICY, PAGE], ids=["policy", "page"])
def test_every_setting_that_is_named_exists(page):
    named = set(re.findall(r"\b[A-Z]{2,}(?:_[A-Z]+)+\b", page.read_text("utf-8")))
    assert named - FOREIGN <= known_names()


@pytest.mark.parametrize("page", [POLICY, PAGE], ids=["policy", "page"])
def test_every_link_leads_somewhere(page):
    for target in re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", page.read_text("utf-8")):
        assert (page.parent / target).exists(), target


def test_the_limits_on_the_page_are_the_limits():
    told = {row[0]: row[-1] for row in rows(PAGE) if len(row) == 3}
    settings = Settings(_env_file=None)
    assert told["request body"] == f"{settings.max_body_mb} MB"
    assert told["head of a request"] == f"{MOST_HEAD_BYTES // 1024} KB, within {HEAD_S:.0f} s"
    rate = LEAST_BODY_BYTES / BODY_LOOK_S
    assert told["slowest body"] == f"{rate:.0f} B/s over {BODY_LOOK_S:.0f} s"
    assert told["image file"] == f"{settings.max_image_mb} MB"
    assert told["image"] == f"{settings.max_image_megapixels:.0f} megapixels"
    assert told["scans of a JPEG"] == str(MOST_SCANS)
    assert told["one image in all"] == f"{settings.fetch_timeout_seconds:.0f} s"
    assert told["redirects"] == str(Limits().max_redirects)
    assert told["tasks and memory that wait"] == (
        f"{settings.max_queued_tasks:,} and {settings.max_queued_mb} MB"
    )
    assert told["label config"] == f"{LONGEST_CONFIG:,} characters"
    guesses = WRONG_LOGINS.partition("/")[0]
    assert f"After {guesses} wrong passwords within a minute" in PAGE.read_text("utf-8")
