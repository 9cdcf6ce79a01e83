"""What was found in one image as bytes, and back without loss; never a pickle.

One byte for the format, one for the kind, then zlib of a JSON head and the arrays behind it.
"""

import json
import math
import struct
import zlib
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from prelabel.types import Attributes, Detections, Float32Array, Poses

_FORMAT = b"\x01"
_DETECTIONS, _POSES, _BREAK = b"D", b"P", b"B"
_HEAD = struct.Struct("<I")
_FAST = 1  # zlib; the arrays hardly shrink more at leisure
_MOST_BYTES = 64 * 1024 * 1024
"""What one image's findings unpack to at most: a damaged or foreign row is no bomb."""


@dataclass(frozen=True, slots=True)
class Break:
    """That a predictor broke on an image.

    Attributes:
        times: How often.
        reason: Why the last time, in one clause.
        at_s: When that was, in seconds since 1970.
        is_hang: Whether it did not come back that time, from this image or one in its batch.
    """

    times: int
    reason: str
    at_s: float
    is_hang: bool = False


Finding = Detections | Poses | Break
"""What is known of an image: what was found in it, or that it cannot be looked at."""


def pack(finding: Finding) -> bytes:
    """A finding as bytes."""
    if isinstance(finding, Break):
        return _packed(_BREAK, asdict(finding))
    about: dict[str, Any] = {
        "count": len(finding),
        "source": finding.source,
        "sources": finding.sources,
        "attributes": [dict(one) for one in finding.attributes],
    }
    if isinstance(finding, Detections):
        about |= {"labels": finding.labels, "body_parts": finding.body_parts}
        about |= {"turns": finding.turns} if finding.turns else {}
        return _packed(_DETECTIONS, about, finding.boxes_xyxy, finding.scores)
    about["keypoints"] = finding.keypoints_xy.shape[1]
    arrays = (finding.boxes_xyxy, finding.box_scores, finding.keypoints_xy, finding.keypoint_scores)
    return _packed(_POSES, about, *arrays)


def unpack(blob: bytes) -> Finding:
    """The finding that was packed.

    Raises:
        ValueError: The bytes are damaged, or of another format.
    """
    try:
        kind, about, body = _opened(blob)
        if kind == _BREAK:
            times, reason, at_s = int(about["times"]), str(about["reason"]), float(about["at_s"])
            return Break(times, reason, at_s, bool(about.get("is_hang")))
        count = int(about["count"])
        shared = (str(about["source"]), _words(about["sources"]), _attributes(about["attributes"]))
        if kind == _DETECTIONS:
            labels = _words(about["labels"])
            boxes, scores = _arrays(body, (count, 4), (count,))
            turns = tuple(float(turn) for turn in about.get("turns", ()))
            return Detections(boxes, scores, labels, tuple(about["body_parts"]), *shared, turns)
        if kind == _POSES:
            points = int(about["keypoints"])
            shapes = ((count, 4), (count,), (count, points, 2), (count, points))
            boxes, box_scores, xy, point_scores = _arrays(body, *shapes)
            return Poses(boxes, box_scores, xy, point_scores, *shared)
    except (KeyError, TypeError, AttributeError, struct.error, zlib.error) as error:
        raise ValueError(f"not a stored finding, or a damaged one: {error}") from error
    raise ValueError(f"not a stored finding: its kind is {kind!r}")


def _packed(kind: bytes, about: dict[str, Any], *arrays: Float32Array) -> bytes:
    head = json.dumps(about, ensure_ascii=False).encode("utf-8", "surrogatepass")
    body = b"".join(np.ascontiguousarray(array, "<f4").tobytes() for array in arrays)
    return _FORMAT + kind + zlib.compress(_HEAD.pack(len(head)) + head + body, _FAST)


def _opened(blob: bytes) -> tuple[bytes, dict[str, Any], bytes]:
    if blob[:1] != _FORMAT:
        raise ValueError(f"not a stored finding: its format is {blob[:1]!r}")
    unpacker = zlib.decompressobj()
    content = unpacker.decompress(blob[2:], _MOST_BYTES)
    if not unpacker.eof:
        raise ValueError("not a stored finding: it is cut short, or too large")
    (length,) = _HEAD.unpack_from(content)
    head = content[_HEAD.size : _HEAD.size + length]
    return blob[1:2], json.loads(head), content[_HEAD.size + length :]


def _arrays(body: bytes, *shapes: tuple[int, ...]) -> list[Float32Array]:
    """Arrays of these shapes, one behind the other; together they must be all of the bytes."""
    ends = np.cumsum([math.prod(shape) for shape in shapes]).tolist()
    numbers = np.frombuffer(body, "<f4").astype(np.float32)  # a copy: arrays that may be written
    if len(numbers) != ends[-1]:
        raise ValueError(f"expected {ends[-1]} numbers, got {len(numbers)}")
    parts = np.split(numbers, ends[:-1])
    return [part.reshape(shape) for part, shape in zip(parts, shapes, strict=True)]


def _words(values: Sequence[str]) -> tuple[str, ...]:
    return tuple(str(value) for value in values)


def _attributes(values: Sequence[dict[str, Sequence[str]]]) -> tuple[Attributes, ...]:
    return tuple({name: _words(chosen) for name, chosen in one.items()} for one in values)
