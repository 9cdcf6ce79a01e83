"""Files of a shared folder, to the byte, however the system opens what lies below a folder."""

import os

import pytest

from prelabel.errors import ImageTooLarge
from prelabel.media.limits import Limits
from prelabel.media.local import read_below


@pytest.fixture
def shared(tmp_path):
    (tmp_path / "frames" / "a").mkdir(parents=True)
    (tmp_path / "frames" / "a" / "1.png").write_bytes(b"0123456789")
    (tmp_path / "secret.png").write_bytes(b"secret")
    (tmp_path / "frames" / "out.png").symlink_to(tmp_path / "secret.png")
    return tmp_path / "frames"


@pytest.fixture(params=["below a folder", "by its path"])
def opening(request, monkeypatch):
    if request.param == "by its path":
        monkeypatch.setattr(os, "supports_dir_fd", set())


@pytest.mark.usefixtures("opening")
class TestHoweverTheSystemOpens:
    def test_a_file_of_just_the_limit_is_read(self, shared):
        assert read_below(shared, "a/1.png", Limits(max_bytes=10), "it") == b"0123456789"

    def test_a_file_of_a_byte_more_is_refused_by_name(self, shared):
        with pytest.raises(ImageTooLarge, match=r"^task 7: it is over the limit of"):
            read_below(shared, "a/1.png", Limits(max_bytes=9), "task 7")

    @pytest.mark.parametrize("name", ["", ".", "a", "a/2.png", "b/1.png", "out.png"])
    def test_what_is_no_file_there_is_none(self, shared, name):
        assert read_below(shared, name, Limits(), "it") is None

    def test_a_folder_that_is_missing_has_no_file(self, shared):
        assert read_below(shared / "no", "a/1.png", Limits(), "it") is None

    def test_a_pipe_is_not_waited_for(self, shared):
        os.mkfifo(shared / "pipe.png")
        assert read_below(shared, "pipe.png", Limits(), "it") is None
