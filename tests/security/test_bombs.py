"""Small things that become large: pictures, answers, requests, label configs, archives."""

import gzip
import json
import socket
import struct
import subprocess
import sys
import threading
import zipfile
import zlib
from contextlib import contextmanager
from io import BytesIO

import numpy as np
import pytest
from PIL import Image as PillowImage

from prelabel.errors import ImageTooLarge, ImageUnreadable, InvalidRequest, TaskError
from prelabel.labelstudio.config import parse
from prelabel.media.addresses import AddressPolicy
from prelabel.media.decode import decode
from prelabel.media.fetch import Fetcher
from prelabel.media.inline import read_data_uri
from prelabel.media.limits import Limits
from prelabel.media.references import ImageReference
from prelabel.media.workspace import Workspace
from prelabel.predictors.weights import unpack

HUGE = 60_000
"""A side in pixels: 10.8 GB of pixels."""

_MEASURE = """
import json, resource, sys, threading
from pathlib import Path
from prelabel.errors import TaskError
from prelabel.media.decode import decode
from prelabel.media import pixels
from prelabel.media.limits import Limits

def peak_mb():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024

outcomes, before = {}, peak_mb()

def look(path):
    try:
        shape = decode(Path(path).read_bytes(), path, Limits()).pixels_rgb.shape
        outcomes[Path(path).name] = str(shape)
    except TaskError as error:
        outcomes[Path(path).name] = type(error).__name__

for number in range(0, len(sys.argv) - 2, int(sys.argv[1])):
    paths = sys.argv[2:][number : number + int(sys.argv[1])]
    threads = [threading.Thread(target=look, args=(path,)) for path in paths]
    [thread.start() for thread in threads]
    [thread.join() for thread in threads]
print(json.dumps([outcomes, peak_mb() - before]))
"""


def decoded_by_another_process(folder, files, *, at_a_time):
    """How each file ended, and by how many MB the memory of the process grew at its peak."""
    if sys.platform != "linux":
        pytest.skip("the peak of memory is counted in other units here")
    for name, data in files.items():
        (folder / name).write_bytes(data)
    paths = [str(folder / name) for name in files]
    command = [sys.executable, "-c", _MEASURE, str(at_a_time), *paths]
    said = subprocess.run(command, capture_output=True, text=True, check=True, timeout=300)
    return json.loads(said.stdout)


def saved(kind, size=(16, 16), mode="RGB", **options):
    file = BytesIO()
    PillowImage.new(mode, size).save(file, kind, **options)
    return file.getvalue()


def replaced(data, old, new):
    assert data.count(old) >= 1
    return data.replace(old, new, 1)


def chunk(kind, data):
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png(width, height, *chunks):
    head = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
    pixels = chunk(b"IDAT", zlib.compress(bytes(min((1 + 3 * width) * height, 100_000))))
    return b"\x89PNG\r\n\x1a\n" + head + b"".join(chunks) + pixels + chunk(b"IEND", b"")


def tiff_tag(data, tag, value):
    """A little-endian TIFF with another value for a tag, as one 32-bit number."""
    (where,) = struct.unpack_from("<I", data, 4)
    (count,) = struct.unpack_from("<H", data, where)
    out = bytearray(data)
    for number in range(count):
        entry = where + 2 + 12 * number
        if struct.unpack_from("<H", data, entry)[0] == tag:
            struct.pack_into("<HII", out, entry + 2, 4, 1, value)
    return bytes(out)


def animation(kind, **options):
    frames = [PillowImage.new("RGB", (16, 16), colour) for colour in ("red", "green", "blue")]
    file = BytesIO()
    frames[0].save(file, kind, save_all=True, append_images=frames[1:], **options)
    return file.getvalue()


def liars():
    """Pictures that claim to be of 60,000 pixels a side, or as much as their format can say."""
    side16, size24 = struct.pack("<H", HUGE), (16_383).to_bytes(3, "little")
    big = struct.pack(">I", HUGE)
    tiff = saved("TIFF")
    gif = saved("GIF")
    frame = gif.index(b"\x2c")  # the descriptor of the first frame
    jpeg = saved("JPEG")
    webp = animation("WEBP")
    return {
        "png": png(HUGE, HUGE),
        "png_one_row": png(2**31 - 1, 1),
        "bmp": replaced(saved("BMP"), struct.pack("<II", 16, 16), struct.pack("<II", HUGE, HUGE)),
        "bmp_upside_down": replaced(
            saved("BMP"), struct.pack("<II", 16, 16), struct.pack("<Ii", HUGE, -HUGE)
        ),
        "gif": gif[:6] + side16 * 2 + gif[10:],
        "gif_frame_beyond_its_screen": gif[: frame + 5] + side16 * 2 + gif[frame + 9 :],
        "tiff": tiff_tag(tiff_tag(tiff, 256, HUGE), 257, HUGE),
        "jpeg": replaced(jpeg, b"\x00\x10\x00\x10", struct.pack(">HH", HUGE, HUGE)),
        "webp": replaced(webp, b"\x0f\0\0\x0f\0\0", size24 * 2),
        "avif": replaced(saved("AVIF"), struct.pack(">II", 16, 16), big * 2),
    }


def hoarders():
    """Small pictures with something large beside their pixels."""
    zeros = zlib.compress(bytes(200_000_000), 9)
    tiff = saved("TIFF")
    return {
        "png_profile": png(16, 16, chunk(b"iCCP", b"x\0\0" + zeros)),
        "png_text": png(16, 16, chunk(b"zTXt", b"x\0\0" + zeros)),
        "png_utf8": png(16, 16, chunk(b"iTXt", b"x\0\1\0\0\0" + zeros)),
        "png_texts": png(16, 16, *[chunk(b"zTXt", b"x\0\0" + zlib.compress(bytes(10**6)))] * 300),
        "png_too_much_data": png(16, 16, chunk(b"IDAT", zeros)),
        "tiff_strips": tiff_tag(tiff, 278, 2**31),
        "tiff_samples": tiff_tag(tiff, 277, 2**16),
    }


def test_a_picture_that_claims_to_be_huge_takes_no_memory(tmp_path):
    outcomes, grown_mb = decoded_by_another_process(tmp_path, liars(), at_a_time=1)
    assert set(outcomes.values()) <= {"ImageTooLarge", "ImageUnreadable"}, outcomes
    for kind in ("png", "bmp", "gif", "tiff", "jpeg"):
        assert outcomes[kind] == "ImageTooLarge"
    assert grown_mb < 150, outcomes


def test_what_a_picture_holds_beside_its_pixels_takes_little_memory(tmp_path):
    outcomes, grown_mb = decoded_by_another_process(tmp_path, hoarders(), at_a_time=1)
    assert set(outcomes.values()) <= {"ImageUnreadable", "(16, 16, 3)"}, outcomes
    assert grown_mb < 150, outcomes


def test_tiny_files_at_the_pixel_limit_do_not_take_memory_all_at_once(tmp_path):
    side = 7_000
    palette = saved("PNG", (side, side), "P", transparency=0)
    assert len(palette) < 10_000
    files = {f"{number}.png": palette for number in range(6)}
    outcomes, grown_mb = decoded_by_another_process(tmp_path, files, at_a_time=6)
    assert set(outcomes.values()) == {f"({side}, {side}, 3)"}
    # 147 MB of each are the outcome itself; one alone once took 900 MB, and all six 5 GB.
    assert grown_mb < 1_000


def test_a_jpeg_of_endless_scans_is_refused_and_one_of_many_is_not():
    ordinary = saved("JPEG", (64, 64), progressive=True)
    scan = ordinary.rindex(b"\xff\xda")
    assert ordinary.count(b"\xff\xda") > 5
    assert decode(ordinary, "a", Limits()).width == 64
    endless = ordinary[:scan] + ordinary[scan:-2] * 400 + ordinary[-2:]
    with pytest.raises(ImageUnreadable, match=r"40\d scans"):
        decode(endless, "a", Limits())


def test_room_for_pixels_is_waited_for_in_turn_and_given_back():
    room, inside, go_on = Workspace(100), threading.Event(), threading.Event()
    done = []

    def work(name, pixels, wait=None):
        with room.for_pixels(pixels):
            inside.set()
            if wait is not None:
                assert wait.wait(10)
            done.append(name)

    first = threading.Thread(target=work, args=("first", 60, go_on))
    first.start()
    assert inside.wait(10)
    others = [threading.Thread(target=work, args=(name, 60)) for name in ("second", "third")]
    for other in others:
        other.start()
    assert done == []
    go_on.set()
    for thread in (first, *others):
        thread.join(10)
    assert sorted(done) == ["first", "second", "third"]
    with room.for_pixels(1_000):  # larger than all of the room, and alone
        done.append("whole")
    assert done[-1] == "whole"


def test_room_comes_back_from_a_picture_that_broke():
    room = Workspace(100)
    with pytest.raises(ZeroDivisionError), room.for_pixels(100):
        raise ZeroDivisionError
    with room.for_pixels(100):
        pass
    assert room._taken == 0


@contextmanager
def endless_server(head, part):
    """Sends an answer without end; gives its address and how many bytes it got rid of."""
    sent = [0]
    listener = socket.create_server(("127.0.0.1", 0))

    def send():
        connection, _ = listener.accept()
        with connection:
            connection.settimeout(10)
            connection.recv(65536)
            try:
                connection.sendall(head)
                while sent[0] < 10**9:
                    connection.sendall(part)
                    sent[0] += len(part)
            except OSError:
                return

    thread = threading.Thread(target=send)
    thread.start()
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}/a", sent
    finally:
        listener.close()
        thread.join()


@pytest.mark.parametrize(
    ("head", "part"),
    [
        (b"HTTP/1.1 200 OK\r\n\r\n", bytes(100_000)),
        (
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
            b"186a0\r\n" + bytes(100_000) + b"\r\n",
        ),
        (
            b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\n\r\n" + gzip.compress(b"")[:10],
            zlib.compressobj(9, zlib.DEFLATED, -15).compress(bytes(10**8)),
        ),
        (b"HTTP/1.1 200 OK\r\n", b"X-Endless: " + b"a" * 10_000 + b"\r\n"),
        (b"", b"HTTP/1.1 100 Continue\r\n\r\n" * 1000),
    ],
    ids=["until it closes", "chunked", "gzip", "header", "interim answers"],
)
def test_an_answer_without_end_is_cut_off(head, part):
    fetcher = Fetcher(Limits(max_bytes=10**6, fetch_timeout_s=2), AddressPolicy(("127.0.0.1",)))
    with endless_server(head, part) as (url, sent):
        with pytest.raises(TaskError, match=r"limit|broke the connection off|did not answer"):
            fetcher.fetch(ImageReference(url))
        fetcher.close()
    assert sent[0] < 5 * 10**8


def test_a_data_uri_over_the_limit_is_refused_before_it_is_decoded():
    uri = "data:image/png;base64," + "A" * 2_000_000
    with pytest.raises(ImageTooLarge):
        read_data_uri(uri, Limits(max_bytes=10**6), "a")


@pytest.mark.parametrize(
    "body",
    [
        b"[" * 1_000_000,
        b'{"tasks":' + b"[" * 100_000 + b"]" * 100_000 + b"}",
        b'{"tasks": [{"id": 1, "data": {"image": ' + b"[" * 5000 + b"]" * 5000 + b"}}]}",
        b'{"a":' * 100_000 + b"1" + b"}" * 100_000,
        b'{"tasks": [], "project": ' + b"9" * 100_000 + b"}",
        b'{"tasks": [], "project": "1.' + b"9" * 100_000 + b'"}',
        b'{"tasks": [{"id": ' + b"9" * 5000 + b', "data": {"image": "a"}}]}',
        b'{"tasks": [{"id": 1e999, "data": {"image": "a"}}]}',
        gzip.compress(b'{"tasks": "' + b"a" * 10**8 + b'"}'),
    ],
    ids=["brackets", "lists", "an image", "objects", "number", "date", "id", "infinite", "gzip"],
)
@pytest.mark.parametrize("path", ["/predict", "/setup", "/train", "/webhook", "/validate", "/fit"])
def test_a_request_that_is_deep_or_long_without_meaning_is_answered(app_server, path, body):
    client = app_server()
    headers = {"Content-Encoding": "gzip"} if body[:2] == b"\x1f\x8b" else {}
    answer = client.post(path, content=body, headers=headers)
    assert answer.status_code < 500, answer.text[:300]
    assert len(answer.content) < 10_000
    assert client.get("/health").status_code == 200


def laughs(levels):
    entities = ['<!ENTITY e0 "ha">']
    entities += [f'<!ENTITY e{n} "{f"&e{n - 1};" * 10}">' for n in range(1, levels)]
    return f"<!DOCTYPE x [{''.join(entities)}]><View>&e{levels - 1};</View>"


CONFIGS = {
    "billion laughs": laughs(10),
    "quadratic": '<!DOCTYPE x [<!ENTITY a "' + "a" * 50_000 + '">]><View>' + "&a;" * 50_000,
    "file": '<!DOCTYPE x [<!ENTITY a SYSTEM "file:///etc/passwd">]><View>&a;</View>',
    "address": '<!DOCTYPE x SYSTEM "http://127.0.0.1:9/x.dtd"><View/>',
    "parameter": '<!DOCTYPE x [<!ENTITY % a SYSTEM "http://127.0.0.1:9/"> %a;]><View/>',
}


@pytest.mark.parametrize("config", CONFIGS.values(), ids=CONFIGS)
def test_a_label_config_that_defines_entities_is_refused(config):
    with pytest.raises(InvalidRequest):
        parse(config)


def test_a_label_config_of_any_depth_or_width_is_answered(app_server):
    client = app_server()
    deep = "<View>" * 100_000 + "</View>" * 100_000
    wide = "<View>" + "<Label value='a'/>" * 50_000 + "</View>"
    for config in (deep, wide, "<View " + "a='b' " * 3 + "/>"):
        answer = client.post("/validate", json={"config": config})
        assert answer.status_code in (200, 400), answer.text[:300]


def test_a_model_archive_writes_the_one_file_it_is_to_write(tmp_path):
    folder = tmp_path / "models"
    folder.mkdir()
    archive = folder / "evil.zip"
    with zipfile.ZipFile(archive, "w") as entries:
        entries.writestr("../../outside.onnx", b"model")
        entries.writestr("/etc/cron.d/evil", b"x")
    unpack(archive, folder / "model.onnx")
    assert (folder / "model.onnx").read_bytes() == b"model"
    assert sorted(path.name for path in tmp_path.rglob("*") if path.is_file()) == [
        "evil.zip",
        "model.onnx",
        "model.onnx.sha256",
    ]


def test_what_was_learnt_is_never_unpickled():
    from prelabel.learning.archive import loads  # noqa: PLC0415 - scipy comes with it

    file = BytesIO()
    np.savez(file, about=np.array([print], dtype=object))
    with pytest.raises(ValueError, match="allow_pickle"):
        loads(file.getvalue())
