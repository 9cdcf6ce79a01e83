"""Images that stand in the task itself, as data: URIs (RFC 2397)."""

import base64
import binascii
from urllib.parse import unquote_to_bytes

from prelabel.errors import ImageRefused, ImageUnreadable
from prelabel.media.limits import Limits


def read_data_uri(uri: str, limits: Limits, thing: str) -> bytes:
    """The bytes of a data: URI, base64 or percent-encoded.

    As browsers do, base64 is read without its padding and with white space in it.

    Raises:
        ImageRefused: Its media type is no image.
        ImageTooLarge: It is over the limit; known before it is decoded.
        ImageUnreadable: It has no data, or its base64 is damaged.
    """
    header, comma, payload = uri[len("data:") :].partition(",")
    media_type, *parameters = (part.strip().lower() for part in header.split(";"))
    if not media_type.startswith("image/"):
        raise ImageRefused(
            thing,
            f"its media type is {media_type[:40] or 'text/plain'!r}, not image/…",
            "Write data:image/png;base64, or the image's own type in front of the data.",
        )
    if not comma:
        raise ImageUnreadable(
            thing, "it has no comma, so no data", "Write data:image/png;base64,<data>."
        )
    # A percent escape is three characters for one byte, base64 four for three bytes.
    least_bytes = len(payload) - 2 * payload.count("%")
    is_base64 = "base64" in parameters
    if (least_bytes * 3 // 4 - 2 if is_base64 else least_bytes) > limits.max_bytes:
        raise limits.over_bytes(thing)
    data = unquote_to_bytes(payload)
    return _from_base64(data, thing) if is_base64 else data


def _from_base64(encoded: bytes, thing: str) -> bytes:
    encoded = b"".join(encoded.split()).rstrip(b"=")
    try:
        return base64.b64decode(encoded + b"=" * (-len(encoded) % 4), validate=True)
    except binascii.Error as error:
        raise ImageUnreadable(
            thing, "its base64 is damaged", "Encode the image again; part of it may be missing."
        ) from error
