"""Every kind of picture a task may hold: right in pixels, or a clear reason."""

import struct
import threading
import zlib
from io import BytesIO

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import GifImagePlugin, PngImagePlugin, WebPImagePlugin
from PIL import Image as PillowImage

from prelabel.errors import ImageTooLarge, ImageUnreadable
from prelabel.media import pixels
from prelabel.media.decode import decode
from prelabel.media.limits import Limits

LIMITS = Limits()
ORIENTATIONS = range(1, 9)


def picture(height=24, width=40):
    """Four plain quarters, so that each way of turning it gives other pixels."""
    rgb = np.zeros((height, width, 3), np.uint8)
    rgb[: height // 2, : width // 2] = (200, 40, 40)
    rgb[: height // 2, width // 2 :] = (40, 200, 40)
    rgb[height // 2 :, : width // 2] = (40, 40, 200)
    rgb[height // 2 :, width // 2 :] = (220, 220, 60)
    return rgb


def saved(image, kind, **options):
    if isinstance(image, np.ndarray):
        image = PillowImage.fromarray(image)
    file = BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def exif(orientation):
    block = PillowImage.Exif()
    block[0x0112] = orientation
    return block


def rgb(data, limits=LIMITS):
    return decode(data, "the picture", limits).pixels_rgb


def as_stored(upright, orientation):
    """How a camera that writes this orientation stores an upright picture."""
    return {
        1: upright,
        2: np.fliplr(upright),
        3: np.rot90(upright, 2),
        4: np.flipud(upright),
        5: upright.transpose(1, 0, 2),
        6: np.rot90(upright, 1),
        7: np.rot90(upright, 2).transpose(1, 0, 2),
        8: np.rot90(upright, -1),
    }[orientation].copy()


def with_chunk_behind_the_pixels(png, kind, body):
    chunk = struct.pack(">I", len(body)) + kind + body
    chunk += struct.pack(">I", zlib.crc32(kind + body))
    end = png.index(b"IEND") - 4
    return png[:end] + chunk + png[end:]


LOSSLESS = {
    "PNG": {},
    "WEBP": {"lossless": True},
    "BMP": {},
    "TIFF": {},
}


@pytest.mark.parametrize("kind", LOSSLESS)
def test_an_ordinary_picture_comes_out_as_it_went_in(kind):
    np.testing.assert_array_equal(rgb(saved(picture(), kind, **LOSSLESS[kind])), picture())


def test_a_jpeg_comes_out_as_pillow_decodes_it():
    data = saved(picture(120, 160), "JPEG", quality=92)
    expected = np.asarray(PillowImage.open(BytesIO(data)).convert("RGB"), int)
    assert np.abs(rgb(data).astype(int) - expected).max() <= 2


def test_an_avif_comes_out_nearly_as_it_went_in():
    found = rgb(saved(picture(48, 80), "AVIF", quality=95))
    assert np.abs(found.astype(int) - picture(48, 80)).mean() < 4


@pytest.mark.parametrize("fast", [True, False], ids=["cv2", "pillow"])
@pytest.mark.parametrize("orientation", ORIENTATIONS)
@pytest.mark.parametrize(
    ("kind", "options"),
    [("JPEG", {"quality": 95}), ("PNG", {}), ("TIFF", {})],
)
def test_a_picture_is_turned_upright(kind, options, orientation, fast, monkeypatch):
    if not fast:
        monkeypatch.setattr(pixels, "FAST_KINDS", frozenset())
    data = saved(as_stored(picture(), orientation), kind, exif=exif(orientation), **options)
    found = rgb(data)
    assert found.shape == picture().shape
    inner = np.abs(found.astype(int) - picture())
    assert np.median(inner) <= (3 if kind == "JPEG" else 0)
    for row, column in ((5, 9), (5, 30), (18, 9), (18, 30)):
        assert inner[row, column].max() <= 12


def test_cv2_and_pillow_give_the_same_upright_pixels(monkeypatch):
    data = saved(as_stored(picture(), 6), "PNG", exif=exif(6))
    fast = rgb(data)
    monkeypatch.setattr(pixels, "FAST_KINDS", frozenset())
    np.testing.assert_array_equal(rgb(data), fast)


@pytest.mark.parametrize("fast", [True, False], ids=["cv2", "pillow"])
def test_an_orientation_that_browsers_ignore_is_ignored(fast, monkeypatch):
    if not fast:
        monkeypatch.setattr(pixels, "FAST_KINDS", frozenset())
    block = exif(6).tobytes().removeprefix(b"Exif\0\0")
    behind = with_chunk_behind_the_pixels(saved(picture(), "PNG"), b"eXIf", block)
    webp = saved(picture(), "WEBP", exif=exif(6), **LOSSLESS["WEBP"])
    for data in (behind, webp):
        np.testing.assert_array_equal(rgb(data), picture())


@pytest.mark.parametrize("orientation", [0, 9, 700])
def test_an_impossible_orientation_is_ignored(orientation):
    np.testing.assert_array_equal(rgb(saved(picture(), "PNG", exif=exif(orientation))), picture())


@pytest.mark.parametrize("kind", ["PNG", "WEBP"])
def test_an_exif_block_that_cannot_be_read_is_ignored(kind):
    data = saved(picture(), kind, exif=b"Exif\0\0no block at all", **LOSSLESS[kind])
    np.testing.assert_array_equal(rgb(data), picture())


@pytest.mark.parametrize("kind", ["PNG", "JPEG"])
def test_grey_becomes_three_equal_channels(kind):
    grey = np.repeat(np.arange(0, 240, 8, np.uint8)[None], 16, axis=0)
    found = rgb(saved(grey, kind, **({"quality": 100} if kind == "JPEG" else {})))
    assert found.shape == (16, 30, 3)
    assert (found[..., 0] == found[..., 2]).all()
    assert np.abs(found[..., 1].astype(int) - grey).max() <= 2


@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
def test_sixteen_bit_grey_is_scaled_not_clipped(kind):
    ramp = np.linspace(0, 65535, 64).astype(np.uint16)
    found = rgb(saved(PillowImage.fromarray(np.tile(ramp, (16, 1))), kind))
    np.testing.assert_array_equal(found[0, :, 1], np.rint(ramp / 257).astype(np.uint8))


def test_sixteen_bit_colours_are_scaled_and_in_order():
    wide = picture().astype(np.uint16) * 257
    _, png = cv2.imencode(".png", wide[..., ::-1])
    np.testing.assert_array_equal(rgb(png.tobytes()), picture())


def test_sixteen_bit_colours_with_alpha_lie_on_white():
    wide = np.dstack([picture()[..., ::-1], np.zeros((24, 40), np.uint8)]).astype(np.uint16) * 257
    wide[:12, :, 3] = 65535
    _, png = cv2.imencode(".png", wide)
    found = rgb(png.tobytes())
    np.testing.assert_array_equal(found[:12], picture()[:12])
    assert (found[12:] == 255).all()


@pytest.mark.parametrize(
    ("kind", "options"), [("PNG", {}), ("WEBP", {"lossless": True, "exact": True})]
)
def test_transparent_parts_lie_on_white(kind, options):
    alpha = np.full((24, 40), 255, np.uint8)
    alpha[:, :10], alpha[:, 10:20] = 0, 128
    found = rgb(saved(np.dstack([picture(), alpha]), kind, **options)).astype(int)
    assert (found[:, :10] == 255).all()
    half = np.rint(picture()[:, 10:20] * (128 / 255) + 255 * (127 / 255))
    assert np.abs(found[:, 10:20] - half).max() <= 1
    np.testing.assert_array_equal(found[:, 20:], picture()[:, 20:])


def test_grey_with_alpha_lies_on_white():
    image = PillowImage.new("LA", (20, 10), (90, 0))
    image.paste((90, 255), (0, 0, 10, 10))
    found = rgb(saved(image, "PNG"))
    assert (found[:, :10] == 90).all()
    assert (found[:, 10:] == 255).all()


def test_a_palette_comes_out_in_its_colours():
    image = PillowImage.fromarray(picture()).convert("P", palette=PillowImage.Palette.ADAPTIVE)
    np.testing.assert_array_equal(rgb(saved(image, "PNG")), picture())


@pytest.mark.parametrize("kind", ["PNG", "GIF"])
def test_a_transparent_palette_entry_lies_on_white(kind):
    image = PillowImage.new("P", (20, 10), 0)
    image.putpalette([10, 20, 30, 200, 100, 50])
    image.paste(1, (0, 0, 10, 10))
    found = rgb(saved(image, kind, transparency=0))
    assert (found[:, :10] == (200, 100, 50)).all()
    assert (found[:, 10:] == 255).all()


def test_a_transparent_colour_lies_on_white():
    found = rgb(saved(picture(), "PNG", transparency=(200, 40, 40)))
    assert (found[:12, :20] == 255).all()
    np.testing.assert_array_equal(found[12:], picture()[12:])


@pytest.mark.parametrize("kind", ["PNG", "BMP", "TIFF"])
def test_one_bit_is_black_and_white(kind):
    image = PillowImage.new("1", (32, 16), 1)
    image.paste(0, (0, 0, 16, 16))
    found = rgb(saved(image, kind))
    assert (found[:, :16] == 0).all()
    assert (found[:, 16:] == 255).all()


def test_a_cmyk_jpeg_comes_out_in_its_colours():
    image = PillowImage.fromarray(picture(64, 64)).convert("CMYK")
    found = rgb(saved(image, "JPEG", quality=98)).astype(int)
    assert np.median(np.abs(found - picture(64, 64))) <= 3


def test_a_ycck_jpeg_as_photoshop_writes_it_comes_out_in_its_colours():
    inks = np.asarray(PillowImage.fromarray(picture(64, 64)).convert("CMYK"))
    ycc = np.asarray(PillowImage.fromarray(np.ascontiguousarray(inks[..., :3])).convert("YCbCr"))
    # Pillow inverts what it stores; Adobe stores black inverted, and luma and chroma of the inks.
    data = saved(cmyk(np.dstack([255 - ycc, inks[..., 3]])), "JPEG", quality=98, subsampling=0)
    adobe = data.index(b"Adobe")
    data = data[: adobe + 11] + b"\x02" + data[adobe + 12 :]
    found = rgb(data).astype(int)
    assert np.median(np.abs(found - picture(64, 64))) <= 3


def cmyk(channels):
    height, width, _ = channels.shape
    return PillowImage.frombytes("CMYK", (width, height), channels.tobytes())


def animation(kind):
    first = PillowImage.fromarray(picture())
    others = [PillowImage.new("RGB", first.size, (9, 9, shade)) for shade in (90, 190)]
    options = {"lossless": True} if kind == "WEBP" else {}
    return saved(first, kind, save_all=True, append_images=others, duration=50, **options)


@pytest.mark.parametrize("kind", ["GIF", "WEBP", "PNG"])
def test_an_animation_is_its_first_frame(kind):
    np.testing.assert_array_equal(rgb(animation(kind)), picture())


@pytest.mark.parametrize(
    ("kind", "plugin"),
    [
        ("GIF", GifImagePlugin.GifImageFile),
        ("PNG", PngImagePlugin.PngImageFile),
        ("WEBP", WebPImagePlugin.WebPImageFile),
    ],
)
def test_later_frames_of_an_animation_are_not_decoded(kind, plugin, monkeypatch):
    data = animation(kind)
    frames = []
    seek = plugin.seek
    monkeypatch.setattr(pixels.cv2, "imdecode", None)  # which frames it reads is not known
    monkeypatch.setattr(plugin, "seek", lambda self, n: (frames.append(n), seek(self, n)))
    rgb(data)
    assert set(frames) <= {0}


@pytest.mark.parametrize("options", [{}, {"progressive": True}])
def test_a_jpeg_that_lacks_its_last_rows_is_not_filled_up_with_grey(options):
    data = saved(picture(480, 640), "JPEG", **options)
    with pytest.raises(ImageUnreadable, match="damaged or truncated"):
        rgb(data[: int(len(data) * 0.97)])


def test_later_frames_may_be_damaged():
    data = animation("GIF")
    np.testing.assert_array_equal(rgb(data[: len(data) - 20]), picture())


def test_a_colour_profile_is_ignored():
    np.testing.assert_array_equal(
        rgb(saved(picture(), "PNG", icc_profile=b"no profile")), picture()
    )


def test_a_jpeg_with_data_behind_its_end_is_complete():
    data = saved(picture(120, 160), "JPEG")
    np.testing.assert_array_equal(rgb(data + b"a second picture" * 50), rgb(data))


def noise(kind):
    random = np.random.default_rng(1).integers(0, 255, (64, 64, 3), dtype=np.uint8)
    return saved(random, kind)


@pytest.mark.parametrize("part", [0.3, 0.6, 0.9])
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "BMP", "TIFF", "GIF", "AVIF"])
def test_a_truncated_picture_is_refused(kind, part):
    data = noise(kind)
    with pytest.raises(ImageUnreadable, match="damaged or truncated"):
        rgb(data[: int(len(data) * part)])


def test_a_truncated_jpeg_with_a_whole_thumbnail_is_refused():
    thumbnail = saved(picture(), "JPEG")
    whole = noise("JPEG")
    segment = b"\xff\xe1" + struct.pack(">H", len(thumbnail) + 2) + thumbnail
    with pytest.raises(ImageUnreadable, match="damaged or truncated"):
        rgb((whole[:2] + segment + whole[2:])[:-200])


@pytest.mark.parametrize(
    ("data", "what"),
    [
        (b"", "it is empty"),
        (b"  \n", "it is empty"),
        (b"<!DOCTYPE html><html><title>Log in</title>", "an HTML page, perhaps a login page"),
        (b"\xef\xbb\xbf\n <html>", "an HTML page"),
        (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "SVG drawing, which has no pixels"),
        (b"<?xml version='1.0'?>\n<svg/>", "SVG drawing"),
        (b"<?xml version='1.0'?><Error><Code>AccessDenied</Code>", "an XML document"),
        (b'{"detail": "Not found."}', "JSON, perhaps an error message"),
        (b"[1, 2]", "JSON"),
        ("nicht gefunden: é".encode(), "plain text"),
        ("é".encode() * 3000, "plain text"),
        (b"version https://git-lfs.github.com/spec/v1\noid", "a Git LFS pointer"),
        (b"PK\x03\x04rest", "a ZIP archive"),
        (b"\x1f\x8brest", "gzip-compressed"),
        (b"%PDF-1.7", "a PDF document"),
        (b"\0\0\0\x18ftypheic\0\0\0\0", "a HEIC photo"),
        (b"\0\0\0\x18ftypmif1\0\0\0\0mif1heic", "a HEIC photo"),
        (b"\0\0\0\x18ftypisom\0\0\0\0isomavc1", "a video"),
        (b"\x00\x01\x02\x03", "no image format known here"),
    ],
)
def test_what_is_no_image_is_named(data, what):
    with pytest.raises(ImageUnreadable, match="^the picture: .*" + what) as caught:
        rgb(data)
    assert caught.value.next_step.endswith(".")


def test_a_page_in_place_of_an_image_says_what_to_do_wherever_it_is_from():
    with pytest.raises(ImageUnreadable, match=r"If it was uploaded, .* If it has a web address, "):
        rgb(b"<!DOCTYPE html><html>")


def test_an_avif_is_told_by_any_of_its_brands():
    data = saved(picture(), "AVIF", quality=95)
    np.testing.assert_array_equal(rgb(data[:8] + b"mif1" + data[12:]), rgb(data))


def test_floating_point_pixels_are_refused_with_what_to_do():
    data = saved(PillowImage.new("F", (20, 20), 0.5), "TIFF")
    with pytest.raises(ImageUnreadable, match=r"mode F\. Export it as"):
        rgb(data)


def declared_png(width, height):
    """A PNG whose header declares a size and which has next to no pixels."""
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    parts = [(b"IHDR", header), (b"IDAT", zlib.compress(b"\0" * 64)), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
        for kind, body in parts
    )


@pytest.mark.parametrize("side", [7_100, 10_000, 14_000, 60_000])
def test_more_pixels_than_the_limit_are_refused_before_decoding(side):
    with pytest.raises(ImageTooLarge, match="over the limit of 50 megapixels"):
        rgb(declared_png(side, side))


def test_the_pixel_limit_is_the_setting():
    data = saved(picture(), "PNG")
    assert rgb(data, Limits(max_pixels=24 * 40)).shape == (24, 40, 3)
    with pytest.raises(ImageTooLarge, match="40 x 24 pixels"):
        rgb(data, Limits(max_pixels=24 * 40 - 1))


def test_the_guard_of_pillow_is_left_as_it_was():
    before = PillowImage.MAX_IMAGE_PIXELS
    with pytest.raises(ImageTooLarge):
        rgb(declared_png(30_000, 30_000))
    assert before == PillowImage.MAX_IMAGE_PIXELS


def test_a_tracking_pixel_is_refused():
    with pytest.raises(ImageUnreadable, match="too few to find anything in"):
        rgb(saved(picture(8, 7), "PNG"))
    assert rgb(saved(picture(8, 8), "PNG")).shape == (8, 8, 3)


def test_threads_decode_at_the_same_time():
    data = [saved(picture(), "PNG"), animation("GIF"), saved(picture(), "TIFF")] * 4
    found = [None] * len(data)

    def work(index):
        found[index] = rgb(data[index])

    threads = [threading.Thread(target=work, args=(index,)) for index in range(len(data))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for one in found:
        np.testing.assert_array_equal(one, picture())


SAMPLES = [noise(kind) for kind in ("JPEG", "PNG", "WEBP", "BMP", "TIFF", "GIF", "AVIF")]


@settings(max_examples=150, deadline=None)
@given(st.sampled_from(SAMPLES), st.lists(st.tuples(st.floats(0, 0.999), st.binary(max_size=4))))
def test_damage_never_raises_anything_but_a_reason(data, damage):
    damaged = bytearray(data)
    for place, change in damage:
        start = int(place * len(data))
        damaged[start : start + len(change)] = change
    try:
        image = rgb(bytes(damaged), Limits(max_pixels=1_000_000))
    except (ImageUnreadable, ImageTooLarge):
        return
    assert image.dtype == np.uint8


@given(st.binary(max_size=300))
def test_random_bytes_are_named_or_refused(data):
    with pytest.raises((ImageUnreadable, ImageTooLarge)):
        rgb(data)


def test_want_of_memory_is_not_held_against_the_file(monkeypatch):
    def full(*_):
        raise MemoryError

    monkeypatch.setattr(pixels, "upright_rgb", full)
    with pytest.raises(MemoryError):
        rgb(saved(picture(), "PNG"))
