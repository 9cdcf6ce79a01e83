"""Model files come whole, once, and say what to do where they cannot come."""

import hashlib
import io
import os
import stat
import subprocess
import sys
import threading
import zipfile
from collections import Counter
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from prelabel.errors import SettingsError, WeightsUnavailable
from prelabel.predictors import modes, weights
from prelabel.predictors.onnx_file import is_whole_model
from prelabel.predictors.pose_models import EMBEDDED, embedded_folder
from prelabel.predictors.pose_settings import PoseSettings
from prelabel.predictors.weights import WeightsFile, WeightsFolder, recorded_digest
from prelabel.predictors.wholebody import build

FileLock = pytest.importorskip("filelock", reason="pip install 'prelabel[pose]'").FileLock

GRAPH, OTHER_GRAPH = (bytes(numbers) * 4000 for numbers in (range(256), range(255, -1, -1)))
HEAD = b"\x08\x0a\x3a\x80\xc0\x3e"  # ir_version 10, then a graph of 1,024,000 bytes
MODEL, OTHER_MODEL = HEAD + GRAPH, HEAD + OTHER_GRAPH


def archive(*names, content=MODEL, compression=zipfile.ZIP_STORED):
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", compression) as entries:
        for name in names:
            entries.writestr(name, content)
    return packed.getvalue()


def deflated_with_wrong_bytes():
    packed = bytearray(archive("a/end2end.onnx", compression=zipfile.ZIP_DEFLATED))
    packed[100:200] = bytes(byte ^ 0xFF for byte in packed[100:200])
    return bytes(packed)


def encrypted():
    packed = bytearray(archive("a/end2end.onnx", content=b"model"))
    packed[6] |= 1  # the flag, in the entry's own header and in the directory at the end
    packed[packed.find(b"PK\x01\x02") + 8] |= 1
    return bytes(packed)


class ModelHost:
    """A web server of model files that counts, and that can be told to break off."""

    def __init__(self):
        self.files = {}
        self.asked = Counter()
        self.ranges = []
        self.break_off = []  # after how many bytes each coming answer breaks off
        self.status = 200
        self.content_type = "application/octet-stream"
        self.etag = '"one"'
        host = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self):
                host.answer(self)

            def log_message(self, *_):
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        self.url = f"http://127.0.0.1:{self._server.server_port}"

    def answer(self, request):
        self.asked[request.path] += 1
        self.ranges.append(request.headers.get("Range"))
        if self.status != 200 or request.path not in self.files:
            request.send_error(self.status if self.status != 200 else 404)
            return
        body, start = self.files[request.path], 0
        whole = len(body)
        if request.headers.get("Range") and request.headers.get("If-Range") == self.etag:
            start = int(request.headers["Range"].removeprefix("bytes=").removesuffix("-"))
            request.send_response(206)
            request.send_header("Content-Range", f"bytes {start}-{whole - 1}/{whole}")
        else:
            request.send_response(200)
        request.send_header("Content-Type", self.content_type)
        request.send_header("Content-Length", str(whole - start))
        request.send_header("ETag", self.etag)
        request.end_headers()
        end = start + self.break_off.pop(0) if self.break_off else whole
        request.wfile.write(body[start:end])

    def close(self):
        self._server.shutdown()
        self._server.server_close()


@pytest.fixture
def host():
    host = ModelHost()
    yield host
    host.close()


@pytest.fixture
def folder(tmp_path):
    return WeightsFolder(tmp_path / "models", allow_downloads=True)


def leftovers(tmp_path):
    return sorted(p.name for p in (tmp_path / "models").iterdir() if p.name.endswith(".part"))


def test_a_model_file_is_fetched_once_and_readable_by_everybody(host, folder, tmp_path):
    host.files["/pose.onnx"] = MODEL
    file = WeightsFile((f"{host.url}/pose.onnx",))

    first, second = folder.get(file), folder.get(file)

    assert first == second == tmp_path / "models" / "pose.onnx"
    assert first.read_bytes() == MODEL
    assert stat.S_IMODE(first.stat().st_mode) == 0o644
    assert recorded_digest(first) == hashlib.sha256(MODEL).hexdigest()
    assert host.asked["/pose.onnx"] == 1


def test_the_model_inside_an_archive_takes_the_archives_whole_name(host, folder, tmp_path):
    host.files["/rtmw-1.0.b.zip"] = archive("20231122/rtmw/end2end.onnx", "20231122/detail.json")

    path = folder.get(WeightsFile((f"{host.url}/rtmw-1.0.b.zip",)))

    assert path.name == "rtmw-1.0.b.onnx"
    assert path.read_bytes() == MODEL
    assert leftovers(tmp_path) == []


@pytest.mark.parametrize(
    "names", [["a/END2END.ONNX"], ["a/end2end.onnx", "__MACOSX/a/._end2end.onnx"]]
)
def test_archives_as_other_systems_make_them_are_read(tmp_path, names):
    (tmp_path / "own.ZIP").write_bytes(archive(*names))

    path = WeightsFolder(tmp_path / "models", allow_downloads=False).get(tmp_path / "own.ZIP")

    assert path.read_bytes() == MODEL


def test_an_archive_that_somebody_put_into_the_folder_is_used(tmp_path):
    (tmp_path / "pose.zip").write_bytes(archive("x/end2end.onnx"))
    folder = WeightsFolder(tmp_path, allow_downloads=False)

    assert folder.get(WeightsFile(("http://nowhere.invalid/pose.zip",))).read_bytes() == MODEL


def test_a_broken_off_download_goes_on_where_it_was(host, folder):
    host.files["/pose.onnx"] = MODEL
    host.break_off = [300_000, 400_000]

    path = folder.get(WeightsFile((f"{host.url}/pose.onnx",)))

    assert path.read_bytes() == MODEL
    assert host.ranges == [None, "bytes=300000-", "bytes=700000-"]


def test_a_later_process_goes_on_with_what_an_earlier_one_left(host, tmp_path):
    host.files["/pose.onnx"] = MODEL
    host.break_off = [300_000, 0, 0]
    file = WeightsFile((f"{host.url}/pose.onnx",))
    with pytest.raises(WeightsUnavailable, match="download failed"):
        WeightsFolder(tmp_path, allow_downloads=True).get(file)
    assert not (tmp_path / "pose.onnx").exists()

    path = WeightsFolder(tmp_path, allow_downloads=True).get(file)

    assert path.read_bytes() == MODEL
    assert host.ranges[-1] == "bytes=300000-"


def test_a_file_that_changed_on_the_server_starts_anew(host, folder):
    host.files["/pose.onnx"] = MODEL
    host.break_off = [300_000]
    original = host.answer

    def answer(request):
        if host.asked["/pose.onnx"] == 1:
            host.etag, host.files["/pose.onnx"] = '"two"', OTHER_MODEL
        original(request)

    host.answer = answer

    assert folder.get(WeightsFile((f"{host.url}/pose.onnx",))).read_bytes() == OTHER_MODEL


@pytest.mark.parametrize("name", ["pose.onnx", "pose.zip"])
def test_a_file_of_the_same_name_from_another_address_is_another_file(host, tmp_path, name):
    body = {"a": MODEL, "b": OTHER_MODEL}
    for place, model in body.items():
        packed = archive("x/end2end.onnx", content=model)
        host.files[f"/{place}/{name}"] = model if name == "pose.onnx" else packed

    def use(place, *, allow_downloads=True):
        settings = PoseSettings.of({"POSE_MODEL": f"{host.url}/{place}/{name}"})
        folder = WeightsFolder(tmp_path, allow_downloads=allow_downloads)
        return folder.get(settings.pose_file).read_bytes()

    assert use("a") == use("a") == MODEL
    with pytest.raises(WeightsUnavailable, match="came from another address, and ALLOW_DOWN"):
        use("b", allow_downloads=False)
    assert use("b") == OTHER_MODEL
    assert host.asked == {f"/a/{name}": 1, f"/b/{name}": 1}


def test_a_file_of_unknown_origin_is_taken_for_the_one_at_the_address(tmp_path):
    (tmp_path / "pose.onnx").write_bytes(MODEL)
    file = PoseSettings.of({"POSE_MODEL": "http://nowhere.invalid/pose.onnx"}).pose_file
    assert WeightsFolder(tmp_path, allow_downloads=False).get(file).read_bytes() == MODEL


def test_a_file_of_a_mode_may_have_come_from_another_mirror(host, tmp_path):
    host.files["/pose.onnx"] = MODEL
    folder = WeightsFolder(tmp_path, allow_downloads=True)
    folder.get(WeightsFile((f"{host.url}/pose.onnx",)))
    assert folder.is_here(WeightsFile(("http://nowhere.invalid/pose.onnx",)))


def test_a_download_that_always_breaks_off_leaves_no_model(host, folder, tmp_path):
    host.files["/pose.onnx"] = MODEL
    host.break_off = [0, 0, 0]

    with pytest.raises(WeightsUnavailable):
        folder.get(WeightsFile((f"{host.url}/pose.onnx",)))

    assert not (tmp_path / "models" / "pose.onnx").exists()


@pytest.mark.parametrize(
    ("body", "cause"),
    [
        (b"", "not a whole .zip"),
        (archive("a/end2end.onnx")[:-40], "not a whole .zip"),
        (archive("a/end2end.onnx").replace(MODEL[:64], MODEL[1:65], 1), "not a whole .zip"),
        (deflated_with_wrong_bytes(), "not a whole .zip"),
        (encrypted(), "encrypted"),
        (archive("detail.json"), "0 .onnx files"),
        (archive("a.onnx", "b.onnx"), "2 .onnx files"),
    ],
    ids=["empty", "cut", "a byte wrong", "deflated", "encrypted", "no model", "two models"],
)
def test_a_bad_archive_is_refused_and_not_kept(host, folder, tmp_path, body, cause):
    host.files["/pose.zip"] = body
    file = WeightsFile((f"{host.url}/pose.zip",))

    with pytest.raises(WeightsUnavailable, match=cause):
        folder.get(file)

    assert leftovers(tmp_path) == []
    host.files["/pose.zip"] = archive("a/end2end.onnx")
    assert folder.get(file).read_bytes() == MODEL


def test_a_wrong_digest_is_refused_and_the_right_one_taken(host, folder, tmp_path):
    host.files["/pose.onnx"] = MODEL

    def named(digest):
        return PoseSettings.of({"POSE_MODEL": f"{host.url}/pose.onnx#sha256={digest}"}).pose_file

    with pytest.raises(WeightsUnavailable, match="sha256"):
        folder.get(named("0" * 64))

    assert leftovers(tmp_path) == []
    assert folder.get(named(hashlib.sha256(MODEL).hexdigest().upper())).is_file()


@pytest.mark.parametrize("name", ["pose.onnx", "pose.zip"])
def test_a_model_that_is_here_is_not_taken_for_one_of_another_digest(host, tmp_path, name):
    versions = [MODEL, OTHER_MODEL]
    if name == "pose.zip":
        versions = [archive("a/end2end.onnx", content=model) for model in versions]
    first, second = (
        WeightsFile((f"{host.url}/{name}",), hashlib.sha256(body).hexdigest()) for body in versions
    )
    offline = WeightsFolder(tmp_path, allow_downloads=False)
    online = WeightsFolder(tmp_path, allow_downloads=True)

    host.files[f"/{name}"] = versions[0]
    online.get(first)
    with pytest.raises(WeightsUnavailable, match="did not come with sha256"):
        offline.require(second)
    host.files[f"/{name}"] = versions[1]

    assert offline.get(first).read_bytes() == MODEL
    assert online.get(second).read_bytes() == OTHER_MODEL


def test_an_archive_in_the_folder_with_another_digest_is_refused(tmp_path):
    (tmp_path / "pose.zip").write_bytes(archive("x/end2end.onnx"))
    folder = WeightsFolder(tmp_path, allow_downloads=False)

    with pytest.raises(WeightsUnavailable, match=r"pose\.zip: its sha256 is not 00"):
        folder.get(WeightsFile(("http://nowhere.invalid/pose.zip",), "0" * 64))


def test_a_web_page_is_not_taken_for_a_model(host, folder):
    host.files["/pose.onnx"], host.content_type = b"<html>Log in</html>", "text/html"

    with pytest.raises(WeightsUnavailable, match="a web page"):
        folder.get(WeightsFile((f"{host.url}/pose.onnx",)))


@pytest.mark.parametrize(
    "body",
    [b"", b'{"error": "expired"}', b"error", b"<html></html>", archive("a.onnx"), MODEL[:-1], HEAD],
    ids=["empty", "json", "a word", "a page", "an archive", "less its last byte", "its beginning"],
)
def test_what_is_no_whole_model_is_not_kept_as_one(host, folder, tmp_path, body):
    host.files["/pose.onnx"] = body
    file = WeightsFile((f"{host.url}/pose.onnx",))

    with pytest.raises(WeightsUnavailable, match="no whole ONNX model"):
        folder.get(file)

    assert leftovers(tmp_path) == []
    host.files["/pose.onnx"] = MODEL
    assert folder.get(file).read_bytes() == MODEL


@pytest.mark.parametrize("name", EMBEDDED)
def test_real_models_are_whole(name):
    assert is_whole_model(embedded_folder() / name)


def test_the_mirror_is_asked_when_the_host_fails(host, folder):
    host.files["/mirror/pose.onnx"] = MODEL
    file = WeightsFile((f"{host.url}/gone/pose.onnx", f"{host.url}/mirror/pose.onnx"))

    assert folder.get(file).read_bytes() == MODEL
    assert host.asked["/gone/pose.onnx"] == 1


def test_where_all_hosts_fail_the_error_names_file_address_folder_and_each_cause(host, tmp_path):
    host.status = 503
    file = WeightsFile((f"{host.url}/pose.zip", "http://127.0.0.1:1/pose.zip"))

    with pytest.raises(WeightsUnavailable) as caught:
        WeightsFolder(tmp_path, allow_downloads=True).get(file)

    text = str(caught.value)
    assert str(tmp_path / "pose.onnx") in text
    assert f"{host.url}/pose.zip" in text
    assert "503" in text
    assert text.count("127.0.0.1: ") == 2


def test_offline_nothing_is_asked_and_the_error_says_what_to_fetch_and_where_to(host, tmp_path):
    file = WeightsFile((f"{host.url}/pose.zip",))

    with pytest.raises(WeightsUnavailable, match="ALLOW_DOWNLOADS is false") as caught:
        WeightsFolder(tmp_path, allow_downloads=False).get(file)

    assert f"{host.url}/pose.zip" in caught.value.next_step
    assert str(tmp_path) in caught.value.next_step
    assert not host.asked


GET_IN_ANOTHER_PROCESS = """
import sys
from pathlib import Path
from prelabel.predictors.weights import WeightsFile, WeightsFolder

WeightsFolder(Path(sys.argv[2]), allow_downloads=True).get(WeightsFile((sys.argv[1],)))
"""


def test_processes_that_want_one_model_at_once_fetch_it_once(host, tmp_path):
    host.files["/pose.zip"] = archive("a/end2end.onnx")
    command = [sys.executable, "-c", GET_IN_ANOTHER_PROCESS, f"{host.url}/pose.zip", tmp_path]

    processes = [subprocess.Popen(command, stdout=subprocess.DEVNULL) for _ in range(3)]

    assert [process.wait(timeout=60) for process in processes] == [0, 0, 0]
    assert (tmp_path / "pose.onnx").read_bytes() == MODEL
    assert host.asked["/pose.zip"] == 1


def test_who_waits_for_another_process_says_so_and_for_how_long_at_most(
    host, tmp_path, monkeypatch
):
    host.files["/pose.onnx"] = MODEL
    monkeypatch.setattr(weights, "LOCK_TIMEOUT_S", 0.1)
    file = WeightsFile((f"{host.url}/pose.onnx",))

    with (
        FileLock(tmp_path / ".pose.onnx.lock"),
        capture_logs() as logs,
        pytest.raises(WeightsUnavailable, match="another process"),
    ):
        WeightsFolder(tmp_path, allow_downloads=True).get(file)

    assert [line["event"] for line in logs] == ["waiting_for_another_process"]


def test_a_folder_that_cannot_be_written_to_is_an_error_about_the_folder(host, tmp_path):
    (tmp_path / "file").write_text("in the way")
    folder = WeightsFolder(tmp_path / "file" / "models", allow_downloads=True)

    with pytest.raises(WeightsUnavailable, match="Set MODEL_DIR"):
        folder.get(WeightsFile((f"{host.url}/pose.onnx",)))


def test_a_model_of_ones_own_is_used_where_it_lies(folder, tmp_path):
    (tmp_path / "own.onnx").write_bytes(MODEL)

    assert folder.get(tmp_path / "own.onnx") == tmp_path / "own.onnx"


def test_a_newer_archive_of_ones_own_replaces_what_was_unpacked(folder, tmp_path):
    own = tmp_path / "own.zip"
    own.write_bytes(archive("a/end2end.onnx"))
    first = folder.get(own).read_bytes()
    own.write_bytes(archive("a/end2end.onnx", content=b"newer"))

    assert (first, folder.get(own).read_bytes()) == (MODEL, b"newer")


def test_another_archive_of_the_same_name_is_not_taken_for_the_first(folder, tmp_path):
    for name, content in (("one", b"one"), ("two", b"two")):
        (tmp_path / name).mkdir()
        (tmp_path / name / "own.zip").write_bytes(archive("a/end2end.onnx", content=content))
        os.utime(tmp_path / name / "own.zip", (0, 0))  # as copying with its date leaves it

    found = [folder.get(tmp_path / name / "own.zip").read_bytes() for name in ("one", "two")]

    assert found == [b"one", b"two"]


def test_what_somebody_else_has_unpacked_is_used_without_writing(folder, tmp_path, monkeypatch):
    own = tmp_path / "own.zip"
    own.write_bytes(archive("a/end2end.onnx"))
    path = folder.get(own)
    monkeypatch.setattr(WeightsFolder, "_alone_with", None)

    assert folder.get(own) == path


@pytest.mark.parametrize("own", [True, False])
def test_a_folder_that_may_not_be_looked_into_is_named(tmp_path, monkeypatch, own):
    def refuse(_):
        raise PermissionError(13, "Permission denied")

    file = tmp_path / "own.onnx" if own else WeightsFile(("http://127.0.0.1:1/own.onnx",))
    monkeypatch.setattr(Path, "is_file", refuse)

    with pytest.raises(WeightsUnavailable, match=r"own\.onnx: its folder may not be read"):
        WeightsFolder(tmp_path, allow_downloads=True).require(file)


def test_an_own_model_that_is_not_there_is_named(folder, tmp_path):
    with pytest.raises(WeightsUnavailable, match=r"gone\.onnx"):
        folder.get(tmp_path / "gone.onnx")


def test_the_table_of_modes_is_rtmlibs():
    rtmlib = pytest.importorskip(
        "rtmlib", reason="the oracle is not installed: pip install --no-deps rtmlib==0.0.16"
    )
    table = {
        name: {
            "det": modes.OPENMMLAB + mode.detector,
            "det_input_size": (mode.detector_side, mode.detector_side),
            "pose": modes.OPENMMLAB + mode.pose,
            "pose_input_size": mode.pose_input_hw[::-1],
        }
        for name, mode in modes.MODES.items()
    }

    assert table == rtmlib.Wholebody.MODE


def test_ones_own_mirror_is_asked_first():
    file = modes.weights_file("rtmw/pose.zip", "https://models.example/pose/")

    assert file.urls[0] == "https://models.example/pose/rtmw/pose.zip"
    assert len(file.urls) == 3


def test_a_mode_without_its_weights_and_without_downloads_cannot_be_loaded(tmp_path):
    pose = build({"MODE": "lightweight", "MODEL_DIR": tmp_path, "ALLOW_DOWNLOADS": False})

    assert pose.name == "rtmlib-lightweight"
    with pytest.raises(WeightsUnavailable, match="yolox_tiny"):
        pose.load()


@pytest.mark.parametrize("own", ["mine.onnx", "mine.zip"])
def test_a_model_of_ones_own_that_is_not_there_is_told_before_anything_is_loaded(tmp_path, own):
    pose = build({"POSE_DETECTOR": str(tmp_path / own), "MODEL_DIR": tmp_path})

    with pytest.raises(WeightsUnavailable, match="no such file"):
        pose.check()


def test_a_model_at_an_address_of_ones_own_is_fetched(host, tmp_path):
    host.files["/yolox_own.onnx"] = host.files["/rtmw_own.onnx"] = MODEL
    names = {"POSE_DETECTOR": "yolox_own.onnx", "POSE_MODEL": "rtmw_own.onnx"}
    pose = build(
        {setting: f"{host.url}/{name}" for setting, name in names.items()} | {"MODEL_DIR": tmp_path}
    )

    with pytest.raises(WeightsUnavailable, match="cannot be opened"):
        pose.load()

    assert {path.name for path in tmp_path.glob("*.onnx")} == set(names.values())


def test_a_host_that_answers_nothing_but_get_is_one_to_fetch_from(host, tmp_path):
    host.files["/yolox_own.onnx"] = host.files["/rtmw_own.onnx"] = MODEL  # HEAD: 501
    names = {"POSE_DETECTOR": "yolox_own.onnx", "POSE_MODEL": "rtmw_own.onnx"}
    addresses = {setting: f"{host.url}/{name}" for setting, name in names.items()}

    build(addresses | {"MODEL_DIR": tmp_path}).check()

    host.status = 403
    with pytest.raises(WeightsUnavailable, match="answered 403"):
        build(addresses | {"MODEL_DIR": tmp_path}).check()


def test_a_pose_file_of_another_kind_is_refused_when_it_is_opened(tmp_path):
    nanodet, rtmw = (embedded_folder() / name for name in EMBEDDED)
    pose = build({"POSE_DETECTOR": str(nanodet), "POSE_MODEL": str(nanodet)})
    with pytest.raises(SettingsError, match=r"POSE_MODEL: nanodet_person.onnx answers arrays of"):
        pose.load()

    build({"POSE_DETECTOR": str(nanodet), "POSE_MODEL": str(rtmw)}).load()


def test_a_detector_whose_name_does_not_tell_its_kind_is_refused(tmp_path, shared_data):
    own = tmp_path / "mine.onnx"
    own.write_bytes(MODEL)
    pose = build({"POSE_DETECTOR": str(own), "POSE_MODEL": str(own), "MODEL_DIR": tmp_path})

    with pytest.raises(SettingsError, match="Rename it"):
        pose.load()


def test_a_file_that_is_no_model_is_refused_when_it_is_opened(tmp_path):
    own = tmp_path / "yolox_broken.onnx"
    own.write_bytes(MODEL)
    pose = build({"POSE_DETECTOR": str(own), "POSE_MODEL": str(own), "MODEL_DIR": tmp_path})

    with pytest.raises(WeightsUnavailable, match=r"yolox_broken\.onnx.*prelabel models download"):
        pose.load()
