"""Files outside the shared folder stay there, however they are asked for and whoever helps.

tests/media holds the plain cases: parents, symlinks, pipes, missing files. These are the rest.
"""

import os
import shutil
import threading
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from prelabel.errors import ImageRefused, ImageTooLarge, TaskError
from prelabel.media import local
from prelabel.media.addresses import AddressPolicy
from prelabel.media.fetch import Fetcher
from prelabel.media.limits import Limits
from prelabel.media.local import read_below
from prelabel.media.references import ImageReference

PICTURE, SECRET = b"picture", b"secret"
LIMITS = Limits(max_bytes=1000)


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A shared folder beside things that are not shared; one has a name that begins the same."""
    outside = tmp_path_factory.mktemp("place")
    shared = outside / "shared"
    (shared / "a" / "b").mkdir(parents=True)
    (shared / "a" / "b" / "c.png").write_bytes(PICTURE)
    (outside / "shared-not").mkdir()
    (outside / "shared-not" / "c.png").write_bytes(SECRET)
    (outside / "secret.png").write_bytes(SECRET)
    (shared / "inside.png").symlink_to("a/b/c.png")
    (shared / "climbing.png").symlink_to("../secret.png")
    (shared / "absolute.png").symlink_to(outside / "secret.png")
    (shared / "folder").symlink_to(outside)
    (shared / "chain.png").symlink_to("climbing.png")
    (shared / "circle.png").symlink_to("circle.png")
    return shared


@pytest.fixture
def fetcher(place):
    fetcher = Fetcher(LIMITS, AddressPolicy(), place)
    yield fetcher
    fetcher.close()


@pytest.mark.parametrize("uri", ["a/b/c.png", "inside.png", "a/../a/b/c.png", "./a//b/./c.png"])
def test_what_ends_inside_is_read(fetcher, uri):
    assert fetcher.fetch(ImageReference(uri)) == PICTURE


@pytest.mark.parametrize(
    "uri",
    [
        "../secret.png",
        "a/../../secret.png",
        "..%2fsecret.png",
        "%2e%2e/secret.png",
        "..%252fsecret.png",
        "....//secret.png",
        "..\\secret.png",
        "a\\..\\..\\secret.png",
        "../shared-not/c.png",
        "climbing.png",
        "absolute.png",
        "chain.png",
        "circle.png",
        "folder/secret.png",
        "folder/shared-not/c.png",
        "secret.png\0.png",
        "../secret.png\0",
        "/etc/passwd",
        "//etc/passwd",
        "/proc/self/environ",
        "/proc/self/root/etc/passwd",
        "/dev/zero",
        "/dev/stdin",
        "file:///etc/passwd",
        "file://localhost/etc/passwd",
        "file:/etc/passwd",
        "file:../secret.png",
        "file:%2e%2e/secret.png",
        "file://evil.example/share/secret.png",
        "FILE:///etc/passwd",
        "C:\\Windows\\win.ini",
        "C:/Windows/win.ini",
        "\\\\evil.example\\share\\a.png",
        "//evil.example/share/a.png",
        "CON",
        "a/b",
        "",
        ".",
        "~/secret.png",
        "$HOME/secret.png",
        "/data/local-files/?d=../secret.png",
        "/data/local-files/?d=/etc/passwd",
        "/data/local-files/?d=..%2fsecret.png",
        "/data/local-files/?d=climbing.png",
        "/data/local-files/?d=a/b/c.png%00../../secret.png",
        "/data/local-files/../../../etc/passwd",
        "/data/local-files/?d=nothing.png&d=../secret.png",
        "upload/../../secret.png",
    ],
)
def test_what_ends_anywhere_else_is_not(fetcher, uri):
    with pytest.raises(TaskError) as caught:
        fetcher.fetch(ImageReference(uri))
    assert "secret" not in str(caught.value).replace("secret.png", "")


@given(st.lists(st.sampled_from(["..", ".", "a", "b", "c.png", "folder", "secret.png", "", "%2e"])))
def test_no_combination_of_steps_reads_what_is_outside(place, steps):
    assert read_below(place, "/".join(steps), LIMITS, "it") in (None, PICTURE)


@pytest.mark.parametrize("swapped", ["a", "a/b", "a/b/c.png"])
def test_a_part_of_the_path_that_is_swapped_after_the_check_is_not_followed(
    tmp_path, monkeypatch, swapped
):
    """Whoever may write to the folder swaps a checked part for a symlink before it is opened."""
    shared, outside = tmp_path / "shared", tmp_path / "outside"
    for top, data in ((shared, PICTURE), (outside, SECRET)):
        (top / "a" / "b").mkdir(parents=True)
        (top / "a" / "b" / "c.png").write_bytes(data)
    opened = local._opened

    def swap_then_open(top, path):
        part = shared / swapped
        part.rename(tmp_path / "away")
        part.symlink_to(outside / swapped)
        return opened(top, path)

    monkeypatch.setattr(local, "_opened", swap_then_open)
    assert read_below(shared, "a/b/c.png", LIMITS, "it") is None


def test_a_folder_that_is_swapped_all_the_time_never_gives_what_is_outside(tmp_path):
    shared, outside = tmp_path / "shared", tmp_path / "outside"
    for top, data in ((shared, PICTURE), (outside, SECRET)):
        (top / "a").mkdir(parents=True)
        (top / "a" / "c.png").write_bytes(data)
    (tmp_path / "link").symlink_to(outside / "a")
    ended = threading.Event()

    def swap():
        while not ended.is_set():
            (shared / "a").rename(tmp_path / "real")
            (tmp_path / "link").rename(shared / "a")
            (shared / "a").rename(tmp_path / "link")
            (tmp_path / "real").rename(shared / "a")

    swapping = threading.Thread(target=swap)
    swapping.start()
    try:
        found = {read_below(shared, "a/c.png", LIMITS, "it") for _ in range(3000)}
    finally:
        ended.set()
        swapping.join()
    assert SECRET not in found
    assert found & {PICTURE, None}


def test_no_descriptor_stays_open(place):
    descriptors = Path("/proc/self/fd")
    if not descriptors.is_dir():
        pytest.skip("descriptors are not listed on this system")
    before = len(list(descriptors.iterdir()))
    for name in ("a/b/c.png", "a/b", "a/b/nothing.png", "climbing.png", "../secret.png") * 20:
        read_below(place, name, LIMITS, "it")
    assert len(list(descriptors.iterdir())) == before


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no named pipes on this system")
def test_devices_and_pipes_are_no_files_and_do_not_block(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    assert read_below(tmp_path, "pipe", LIMITS, "it") is None
    (tmp_path / "zero.png").symlink_to("/dev/zero")
    assert read_below(tmp_path, "zero.png", LIMITS, "it") is None


def test_a_file_that_is_too_large_is_not_read_whole(tmp_path):
    with (tmp_path / "sparse.png").open("wb") as file:
        file.truncate(10**12)
    with pytest.raises(ImageTooLarge):
        read_below(tmp_path, "sparse.png", LIMITS, "it")


def test_a_shared_folder_that_is_a_symlink_itself_is_where_it_leads(place, tmp_path):
    (tmp_path / "mount").symlink_to(place)
    assert read_below(tmp_path / "mount", "a/b/c.png", LIMITS, "it") == PICTURE
    assert read_below(tmp_path / "mount", "../secret.png", LIMITS, "it") is None


def test_a_shared_folder_that_is_gone_holds_nothing(tmp_path):
    gone = tmp_path / "gone"
    gone.mkdir()
    fetcher = Fetcher(LIMITS, AddressPolicy(), gone)
    shutil.rmtree(gone)
    with pytest.raises(ImageRefused):
        fetcher.fetch(ImageReference("a.png"))
    fetcher.close()
