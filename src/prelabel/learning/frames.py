"""Which frame of which sequence a task is, read from its data or its file name.

Where neither names a frame, the number of the task itself counts, but only if the data says which
sequence it belongs to: task numbers run on from one video to the next. Two videos with equal
file names cannot be told apart by name; `neighbours` therefore drops a sequence in which a frame
occurs twice, and a bare number in an upload folder (`00001.png`), where all videos of a project
meet, names no sequence.
"""

import base64
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import PurePosixPath
from typing import Any, TypeVar
from urllib.parse import parse_qs, unquote, urlsplit

FRAME_KEYS = ("frame", "frame_index", "frame_number", "frame_idx", "frame_id")
SEQUENCE_KEYS = ("video_id", "video", "sequence_id", "sequence", "clip_id", "clip", "shot")
MAX_DIGITS = 15
TRACK = "|"
"""Stands between a video and a track through it, in the name of the track's own sequence."""

_T = TypeVar("_T")

_UPLOAD_PREFIX = re.compile(r"^[0-9a-f]{8}-(?=.)(?!(?:[0-9a-f]{4}-){3})")  # but not a UUID
_NOT_A_FRAME = re.compile(
    r"%[0-9a-f]{2}"  # left over from an address that was written as an address twice
    r"|[0-9]+x[0-9]+"  # a resolution
    r"|[0-9]+(?=fps)"  # a rate
    r"|[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}"  # a UUID
    # a hash: a whole word of hexadecimal digits with both letters and digits, but not f0000123
    r"|(?<![0-9a-z])(?!f[0-9]+(?![0-9a-z]))(?=[0-9]*[a-f])(?=[a-f]*[0-9])[0-9a-f]{8,}(?![0-9a-z])",
    re.IGNORECASE,
)
_SELDOM_A_FRAME = re.compile(  # the number of a frame only where there is no other
    r"(?<![a-z0-9])v[0-9]{1,2}(?![0-9a-z])"  # a version
    r"|[0-9]{3,4}p(?![0-9a-z])|@[0-9]x(?![0-9a-z])"  # a height, a scale
    # a day with another number behind it
    r"|(?<![0-9])(?:19|20)[0-9]{2}([-_.]?)(?:0[1-9]|1[0-2])\1(?:0[1-9]|[12][0-9]|3[01])"
    r"(?=[^0-9].*[0-9])"
    r"|(?<![a-z])(?:img[-_ ]?[0-9]+|f[0-9]{1,2})(?=[-_ ][0-9]{3})",  # of the video IMG_1234
    re.IGNORECASE,
)
_FRAME_NUMBERS = (  # the first pattern that matches decides; of its matches, the last
    re.compile(r"(?:(?:frame|frm|img)|(?<![a-z])f)[-_ ]?([0-9]+)", re.IGNORECASE),
    re.compile(r"[-_]([0-9]+)"),
    re.compile(r"([0-9]+)"),
)


@dataclass(frozen=True, slots=True)
class FrameKey:
    """The place of one frame.

    Attributes:
        sequence: What its video or clip is called; equal for frames of the same one.
        index: Its number there, 0 or more; numbers need not be dense.
    """

    sequence: str
    index: int

    def __post_init__(self) -> None:
        if self.index < 0:
            raise ValueError(f"index: expected 0 or more, got {self.index}")


def frame_key(
    data: Mapping[str, Any], uri: str, *, inner_id: int | None = None, task_id: int | None = None
) -> FrameKey | None:
    """The frame that a task shows, or None where that cannot be told.

    Args:
        data: The task's data; its own keys (`FRAME_KEYS`, `SEQUENCE_KEYS`) come first.
        uri: Where its image is.
        inner_id: The task's number in its project; used if the data names the sequence.
        task_id: The task's number in Label Studio; used after `inner_id`.
    """
    folder, stem = _folder_and_stem(uri)
    digits = _frame_digits(stem)
    named = _first(_sequence_name(data.get(key)) for key in SEQUENCE_KEYS)
    index = _first(_whole_number(data.get(key)) for key in FRAME_KEYS)
    if index is None and digits is not None:
        index = int(digits[1])
    if index is None and named is not None:
        index = _first(_whole_number(number) for number in (inner_id, task_id))
    sequence = named if named is not None else _sequence_of_file(folder, stem, digits)
    if index is None or sequence is None:
        return None
    return FrameKey(sequence, index)


def whole(sequence: str) -> str:
    """The video that the sequence of a single track belongs to; others are whole themselves."""
    return sequence.partition(TRACK)[0]


def neighbours(keys: Sequence[FrameKey | None]) -> list[tuple[int | None, int | None]]:
    """For each key, the positions in `keys` of the frames before and after it.

    They are the nearest indices that exist in the same sequence. A sequence in which an index
    occurs twice holds more than one video, and gives nobody a neighbour.
    """
    members: dict[str, list[tuple[int, int]]] = {}
    for position, key in enumerate(keys):
        if key is not None:
            members.setdefault(key.sequence, []).append((key.index, position))
    beside: list[tuple[int | None, int | None]] = [(None, None)] * len(keys)
    for frames in members.values():
        frames.sort()
        if len({index for index, _ in frames}) < len(frames):
            continue
        positions = [position for _, position in frames]
        befores = [None, *positions[:-1]]
        afters = [*positions[1:], None]
        for before, position, after in zip(befores, positions, afters, strict=True):
            beside[position] = (before, after)
    return beside


def _folder_and_stem(uri: str) -> tuple[str, str]:
    """The folder, with host, and the file name without ending and upload prefix; else ""s."""
    if uri.startswith("data:"):
        return "", ""
    try:
        parts = urlsplit(uri)
    except ValueError:  # for example an unclosed bracket in the host
        return "", ""
    query = parse_qs(parts.query)
    if "fileuri" in query:  # Label Studio's way to an address in cloud storage
        return _folder_and_stem(_decoded(query["fileuri"][0]))
    inside = query.get("d") or query.get("filepath")
    path = PurePosixPath(inside[0] if inside else unquote(parts.path))
    name = _UPLOAD_PREFIX.sub("", path.name)
    return f"{parts.netloc}{path.parent}", PurePosixPath(name).stem if name else ""


def _decoded(text: str) -> str:
    """What was written in URL-safe base64; "" where it was not."""
    try:
        return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)).decode()
    except ValueError:
        return ""


def _frame_digits(stem: str) -> tuple[int, str] | None:
    """Where the frame's digits begin in a file's stem, and the digits."""
    possible = _hidden(_NOT_A_FRAME, stem)
    likely = _hidden(_SELDOM_A_FRAME, possible)
    for visible, pattern in product((likely, possible), _FRAME_NUMBERS):
        groups = [(m.start(1), m[1]) for m in pattern.finditer(visible) if len(m[1]) <= MAX_DIGITS]
        if groups:
            return groups[-1]
    return None


def _hidden(pattern: re.Pattern[str], stem: str) -> str:
    """A file's stem with dots in the place of what matches."""
    return pattern.sub(lambda match: "." * len(match[0]), stem)


def _sequence_of_file(folder: str, stem: str, digits: tuple[int, str] | None) -> str | None:
    if not stem:
        return None
    if digits is None:
        return f"{folder}/{stem}"
    start, text = digits
    if stem == text and re.search(r"(^|/)upload(/|$)", folder):
        return None
    return f"{folder}/{stem[:start]}#{stem[start + len(text) :]}"


def _whole_number(value: object) -> int | None:
    if isinstance(value, str):
        text = value.strip()
        fits = text.isascii() and text.isdigit() and len(text) <= MAX_DIGITS
        return int(text) if fits else None
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    if isinstance(value, float) and not value.is_integer():  # also NaN and infinity
        return None
    return int(value) if 0 <= value < 10**MAX_DIGITS else None  # numpy counts to 2**63 only


def _sequence_name(value: object) -> str | None:
    if isinstance(value, bool) or not isinstance(value, str | int):
        return None
    return str(value).strip() or None


def _first(values: Iterable[_T | None]) -> _T | None:
    return next((value for value in values if value is not None), None)
