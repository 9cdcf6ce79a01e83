"""From bytes to an upright RGB image, or to a clear reason why not.

cv2 and Pillow are imported with the first image: together they weigh more than the idle server.
"""

import hashlib
import re

from prelabel.errors import ImageUnreadable, TaskError
from prelabel.media.kinds import EXPORT, image_format, what_instead
from prelabel.media.limits import Limits
from prelabel.types import Image


def decode(data: bytes, name: str, limits: Limits) -> Image:
    """Decode one image as a browser shows it: upright, transparent parts on white, first frame.

    Colour profiles are ignored. 16-bit channels are scaled to 8 bits.

    Args:
        data: The file.
        name: What to call the image in errors and logs.
        limits: Its size is held to them before anything is decoded.

    Raises:
        ImageTooLarge: More pixels than the limit.
        ImageUnreadable: It is no image, damaged, truncated, or of a kind that has no 8-bit colours.
    """
    kind = image_format(data)
    if kind is None:
        instead = what_instead(data)
        raise ImageUnreadable(name, f"it is {instead.what}", instead.next_step)
    from prelabel.media import pixels  # noqa: PLC0415 - 40 MB that an idle server can do without

    try:
        return Image(pixels.upright_rgb(data, kind, name, limits), name=name)
    except (TaskError, MemoryError):  # the file is not to blame for want of memory
        raise
    except Exception as error:
        raise ImageUnreadable(
            name,
            f"the {kind} file is damaged or truncated ({_in_short(error)})",
            f"Upload it again from the original. If a viewer opens it: {EXPORT}",
        ) from error


def content_digest(data: bytes) -> str:
    """What tells the bytes of one image from all others."""
    return hashlib.sha256(data).hexdigest()


def _in_short(error: Exception) -> str:
    text = re.sub(r"\s+", " ", str(error)).strip()
    return text[:120] or type(error).__name__
