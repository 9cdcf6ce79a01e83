"""Decoding with cv2 where it is right and fast, and with Pillow where the image is an odd one.

Pillow reads the header: size, mode, orientation. Its plugins are called one by one instead of
through `PIL.Image.open`, whose guard against huge images is a process-wide setting that warns
first; the limit here is checked on the header of each.
"""

import struct
from io import BytesIO

import cv2
import numpy as np
import structlog
from PIL import Image as PillowImage
from PIL.AvifImagePlugin import AvifImageFile
from PIL.BmpImagePlugin import BmpImageFile
from PIL.ExifTags import Base as Tag
from PIL.GifImagePlugin import GifImageFile
from PIL.ImageFile import ImageFile
from PIL.JpegImagePlugin import JpegImageFile
from PIL.PngImagePlugin import PngImageFile
from PIL.TiffImagePlugin import TiffImageFile
from PIL.WebPImagePlugin import WebPImageFile

from prelabel.errors import ImageTooLarge, ImageUnreadable
from prelabel.media.kinds import EXPORT
from prelabel.media.limits import Limits
from prelabel.media.workspace import Workspace
from prelabel.types import UInt8Array

log = structlog.get_logger(__name__)

PLUGINS: dict[str, type[ImageFile]] = {
    "AVIF": AvifImageFile,
    "BMP": BmpImageFile,
    "GIF": GifImageFile,
    "JPEG": JpegImageFile,
    "PNG": PngImageFile,
    "TIFF": TiffImageFile,
    "WEBP": WebPImageFile,
}
FAST_KINDS = frozenset({"JPEG", "PNG", "WEBP"})
FAST_MODES = frozenset({"L", "RGB", "RGBX"})
NUMBER_MODES = frozenset({"F", "I"})
"""Modes whose values are measurements, with no white that would be known."""

MOST_SCANS = 256
"""Of a JPEG; cameras and programs write up to a dozen. A scan of a hundred bytes makes a decoder go
over all pixels once more, so that a file within all other limits could keep it busy for hours."""

BAND_PX = 256
"""Rows that are converted at a time: the copies on the way are then small."""

_workspace = Workspace(100_000_000)
"""One for the process, as memory is."""


def upright_rgb(data: bytes, kind: str, name: str, limits: Limits) -> UInt8Array:
    """Pixels (H, W, 3) of a file of a known kind.

    Raises:
        ImageTooLarge: More pixels than the limit.
        ImageUnreadable: Too small, or without 8-bit colours.
        Exception: Whatever a decoder raises on damaged bytes.
    """
    with PLUGINS[kind](BytesIO(data)) as header:
        _require_size(header.size, name, limits)
        if header.mode in NUMBER_MODES:
            raise ImageUnreadable(name, f"its pixels are numbers of mode {header.mode}", EXPORT)
        if kind == "JPEG" and (scans := data.count(b"\xff\xda")) > MOST_SCANS:
            raise ImageUnreadable(name, f"it is made of {scans} scans, to no purpose", EXPORT)
        orientation = _orientation(header)
        with _workspace.for_pixels(header.width * header.height):
            return np.ascontiguousarray(_turned(_decode(header, data), orientation))


def _require_size(size_wh: tuple[int, int], name: str, limits: Limits) -> None:
    width, height = size_wh
    if width * height > limits.max_pixels:
        raise ImageTooLarge(
            name,
            f"it has {width} x {height} pixels, over the limit of "
            f"{limits.max_pixels / 1e6:g} megapixels",
            "Scale it down, or raise MAX_IMAGE_MEGAPIXELS.",
        )
    if min(width, height) < limits.min_side_px:
        raise ImageUnreadable(
            name,
            f"it has {width} x {height} pixels, too few to find anything in",
            "Check the address: it may be a placeholder instead of the image.",
        )


def _decode(header: ImageFile, data: bytes) -> UInt8Array:
    if _is_ordinary(header):
        flags = cv2.IMREAD_COLOR_RGB | cv2.IMREAD_IGNORE_ORIENTATION
        pixels: UInt8Array | None = cv2.imdecode(np.frombuffer(data, np.uint8), flags)
        # From a truncated file cv2 makes nothing; Pillow then says what is wrong with it.
        if pixels is not None and pixels.shape[1::-1] == header.size:
            return pixels
    return _with_pillow(header)


def _is_ordinary(header: ImageFile) -> bool:
    """Whether cv2 decodes the file right: opaque 8-bit colours or greys, one frame."""
    return (
        header.format in FAST_KINDS
        and header.mode in FAST_MODES
        and "transparency" not in header.info
        and not getattr(header, "is_animated", False)
    )


def _with_pillow(header: ImageFile) -> UInt8Array:
    header.load()
    width, height = header.size
    rgb = np.empty((height, width, 3), np.uint8)
    for top in range(0, height, BAND_PX):
        bottom = min(top + BAND_PX, height)
        rgb[top:bottom] = _as_rgb(header.crop((0, top, width, bottom)))
    return rgb


def _as_rgb(band: PillowImage.Image) -> UInt8Array:
    if band.mode.startswith("I;16"):  # Pillow would clip these to 255 instead of scaling them
        grey = ((np.asarray(band).astype(np.uint32) + 128) // 257).astype(np.uint8)
        return np.repeat(grey[..., None], 3, axis=2)
    if band.has_transparency_data:
        return _on_white(band.convert("RGBA"))
    return np.asarray(band.convert("RGB"))


def _on_white(rgba: PillowImage.Image) -> UInt8Array:
    white = PillowImage.new("RGBA", rgba.size, "white")
    return np.asarray(PillowImage.alpha_composite(white, rgba).convert("RGB"))


def _orientation(header: ImageFile) -> int:
    """EXIF orientation 1..8 as browsers honour it; 1 where there is none, and always of a WebP.

    Read from the EXIF block before the pixels alone: Pillow's `getexif` would decode a PNG to look
    behind them, and would take orientations from XMP, both of which browsers ignore.
    """
    if header.format in ("TIFF", "WEBP"):  # Pillow turns TIFFs itself when it loads them
        return 1
    block = header.info.get("exif")
    if not block:
        return 1
    exif = PillowImage.Exif()
    try:
        exif.load(block)
        value = exif.get(Tag.Orientation, 1)
    except (SyntaxError, ValueError, KeyError, TypeError, struct.error) as error:
        log.debug("exif_unreadable", reason=str(error))  # a browser shows the image all the same
        return 1
    return value if value in range(1, 9) else 1


def _turned(pixels: UInt8Array, orientation: int) -> UInt8Array:
    """Pixels turned from how they are stored to how they are meant (EXIF 2.32, 4.6.4)."""
    if orientation in (5, 6, 7, 8):  # stored rows are columns of the picture
        pixels = pixels.transpose(1, 0, 2)
    if orientation in (2, 3, 6, 7):
        pixels = pixels[:, ::-1]
    if orientation in (3, 4, 7, 8):
        pixels = pixels[::-1]
    return pixels
