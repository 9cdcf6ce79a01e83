"""What bytes are, told from how they begin: a known image format, or what came instead."""

from dataclasses import dataclass

EXPORT = "Export it as JPEG, PNG or WebP."
SEE_ADDRESS = (
    "If it was uploaded, upload the image itself in its place. If it has a web address, open that "
    "in a browser where nobody is logged in."
)


@dataclass(frozen=True, slots=True)
class NoImage:
    """What came instead of an image.

    Attributes:
        what: A name for it, with its article.
        next_step: What to do about it.
    """

    what: str
    next_step: str


def image_format(data: bytes) -> str | None:
    """The format of an image that is decoded here, in Pillow's spelling, else None."""
    if data.startswith(b"RIFF") and data[8:12] == b"WEBP":
        return "WEBP"
    if _brands(data) & {b"avif", b"avis"}:
        return "AVIF"
    for beginning, name in _FORMATS:
        if data.startswith(beginning):
            return name
    return None


def what_instead(data: bytes) -> NoImage:
    """What data that is no image of a known format is."""
    if not data.strip():
        return NoImage("empty", "Upload the image again: its file has no content.")
    if brands := _brands(data):
        heic = brands & {b"heic", b"heix", b"heim", b"heis", b"mif1", b"msf1", b"hevc"}
        return _HEIC if heic else _VIDEO
    for beginning, instead in _OTHERS:
        if data.startswith(beginning):
            return instead
    return _text(data) or NoImage(
        f"of no image format known here (it begins with {data[:8].hex(' ')})", EXPORT
    )


def _brands(data: bytes) -> set[bytes]:
    """What a file of ISO's media format says that it is: its own brand, then compatible ones."""
    if data[4:8] != b"ftyp":
        return set()
    end = min(int.from_bytes(data[:4]), 256)
    return {data[8:12], *(data[at : at + 4] for at in range(16, end, 4))}


def _text(data: bytes) -> NoImage | None:
    """What kind of text it is, or None where it is none."""
    try:
        beginning = data[:4096].decode("utf-8-sig").strip().lower()
    except UnicodeDecodeError as error:
        if error.start < min(len(data), 4096) - 3:  # not just a character cut in half
            return None
        beginning = data[: error.start].decode("utf-8-sig").strip().lower()
    if beginning.startswith("<") and "<svg" in beginning and "<html" not in beginning:
        return NoImage("an SVG drawing, which has no pixels", EXPORT)
    for start, instead in _TEXTS:
        if beginning.startswith(start):
            return instead
    readable = all(char.isprintable() or char.isspace() for char in beginning)
    return NoImage("plain text", SEE_ADDRESS) if readable else None


_FORMATS = (
    (b"\xff\xd8\xff", "JPEG"),
    (b"\x89PNG\r\n\x1a\n", "PNG"),
    (b"GIF87a", "GIF"),
    (b"GIF89a", "GIF"),
    (b"BM", "BMP"),
    (b"II*\0", "TIFF"),
    (b"MM\0*", "TIFF"),
)
_VIDEO = NoImage("a video", "Cut it into frames and import those as images.")
_HEIC = NoImage("a HEIC photo, which most browsers do not show either", EXPORT)
_JPEG_2000 = NoImage("a JPEG 2000 image, which browsers do not show either", EXPORT)
_JPEG_XL = NoImage("a JPEG XL image, which most browsers do not show either", EXPORT)
_OTHERS = (
    (b"PK\x03\x04", NoImage("a ZIP archive", "Unpack it and import its images.")),
    (b"\x1f\x8b", NoImage("gzip-compressed", "Unpack it and import the image.")),
    (b"%PDF", NoImage("a PDF document", "Export its pages as JPEG or PNG.")),
    (b"8BPS", NoImage("a Photoshop file", EXPORT)),
    (b"\0\0\0\x0cjP  ", _JPEG_2000),
    (b"\xff\x4f\xff\x51", _JPEG_2000),
    (b"\0\0\0\x0cJXL ", _JPEG_XL),
    (b"\xff\x0a", _JPEG_XL),
    (b"\x1aE\xdf\xa3", _VIDEO),
)
_HTML = NoImage("an HTML page, perhaps a login page", SEE_ADDRESS)
_JSON = NoImage("JSON, perhaps an error message", SEE_ADDRESS)
_TEXTS = (
    ("<!doctype html", _HTML),
    ("<html", _HTML),
    ("<head", _HTML),
    ("<body", _HTML),
    ("<", NoImage("an XML document, perhaps an error of the storage", SEE_ADDRESS)),
    ("{", _JSON),
    ("[", _JSON),
    (
        "version https://git-lfs",
        NoImage("a Git LFS pointer, not the file", "Run git lfs pull and import the image again."),
    ),
)
