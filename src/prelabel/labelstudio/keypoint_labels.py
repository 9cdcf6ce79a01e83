"""Which of the 133 whole-body keypoints a label means, in the spellings that projects use."""

import re
from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache

from prelabel import keypoints
from prelabel.labelstudio.config import Label, LabelConfig, normalised

PERSON_WORDS = frozenset({"person", "people", "human", "man", "woman", "pose"})
"""Labels of a rectangle that holds a person's keypoints."""

_SIDES = {"left": "left", "l": "left", "right": "right", "r": "right"}
_FINGERS = {
    "thumb": "thumb",
    "index": "forefinger",
    "forefinger": "forefinger",
    "fore": "forefinger",
    "middle": "middle_finger",
    "ring": "ring_finger",
    "pinky": "pinky_finger",
    "little": "pinky_finger",
}
_FINGER_JOINTS = ("mcp", "pip", "dip", "tip")
_THUMB_JOINTS = ("cmc", "mcp", "ip", "tip")
_SMALL_TOE = ("little", "pinky")
_FILLERS = {"finger", "kp", "kpt", "keypoint", "landmark", "point"}
_TOKENS = re.compile(
    r"[LlRr](?=(?i:eye|shoulder|elbow|wrist|hip|knee|ankle|heel)(?![a-z]))"
    r"|[A-Z]+(?=[A-Z][a-z])|(?:[Ll]eft|[Rr]ight)(?=[a-z])"
    r"|[A-Z]?[a-z]+?(?=(?:toe|finger|tip)(?![a-z]))|[A-Z]?[a-z]+|[A-Z]+|[0-9]+"
)
"""Words as in "left_eye", "leftEye", "LEye", "leye", "LEFT_EYE", "lefteye", "bigtoe"; numbers."""
_JOINTS_OF_A_FINGER = 4
_MOST_LETTERS = 80  # no keypoint has a longer name, and what is parsed is remembered
_COMPLETE = (range(len(keypoints.NAMES)), keypoints.BODY)
"""What `model_index` counts where it counts a person's keypoints."""


def means_person(label: Label) -> bool:
    """Whether rectangles with this label hold a person's keypoints."""
    return bool(PERSON_WORDS & {normalised(name) for name in label.names})


def person_labels(config: LabelConfig) -> tuple[str, ...]:
    """The stored labels of all rectangles that hold a person's keypoints."""
    rectangles = (control for control in config.controls if control.tag == "RectangleLabels")
    people = (one.stored for control in rectangles for one in control.labels if means_person(one))
    return tuple(dict.fromkeys(people))


def keypoint_labels(labels: Sequence[Label]) -> dict[int, str]:
    """The labels that name a whole-body keypoint: its index and the label that is stored for it.

    A label's name decides: COCO-WholeBody's own ("left_eye", "face-0", "left_hand_root",
    "right_forefinger2"), also as "LeftEye", "leftEye", "LEye" or "leye", by the anatomist's names
    of joints ("left_index_mcp", "LEFT_THUMB_TIP"), or numbered as in "face_0", "left_hand_20",
    "left_wrist_0", "left_hand_thumb_1", "left_index_5", counted from 0 or from 1 as the project's
    numbers say; numbers that fit neither are another skeleton's.
    Where the name says nothing, for example in another language, the label's alias does, then its
    `predicted_values`, where all of them that are keypoints are the same one.
    Where no word says anything, its `model_index` does, if the labels have those of all 133
    keypoints, or of the 17 of the body, and agree with the names that are understood; where none
    is, the `predicted_values` of the 17 have to name a person. Of two labels for one keypoint the
    first counts.
    """
    first = _first_numbers(name for label in labels for name in label.names)
    by_name = [_index_of_words(label, first) for label in labels]
    by_number = [_model_index(label) for label in labels]
    numbers_count = _count_these_keypoints(labels, by_name, by_number)
    found: dict[int, str] = {}
    for label, named, numbered in zip(labels, by_name, by_number, strict=True):
        index = numbered if named is None and numbers_count else named
        if index is not None:
            found.setdefault(index, label.stored)
    return found


def _count_these_keypoints(
    labels: Sequence[Label], by_name: Sequence[int | None], by_number: Sequence[int | None]
) -> bool:
    """Whether `model_index` counts a person's keypoints, and not, say, those of a hand or a cat."""
    complete = next((one for one in _COMPLETE if set(by_number) == set(one)), ())
    if len(complete) != len(labels):
        return False
    if any(index is not None for index in by_name):
        pairs = zip(by_name, by_number, strict=True)
        return all(named in (None, numbered) for named, numbered in pairs)
    return complete != keypoints.BODY or all(map(means_person, labels))


def _first_numbers(names: Iterable[str]) -> dict[str, int | None]:
    """From where a project counts the points of a "hand", of a "face", and of each "finger".

    None where its numbers do not fit, as those of a face of 98 points.
    """
    numbers: dict[str, set[int]] = {"hand": set(), "face": set(), "finger": set()}
    for name in names:
        _, words, number = _parsed(name[:_MOST_LETTERS])
        part = "finger" if words and words[-1] in _FINGERS else "".join(words)
        if part in numbers and number is not None:
            numbers[part].add(number)
    fingers = numbers["finger"]
    from_0 = fingers == set(range(_JOINTS_OF_A_FINGER))
    return {
        "hand": _first_number(numbers["hand"], len(keypoints.LEFT_HAND)),
        "face": _first_number(numbers["face"], len(keypoints.FACE)),
        "finger": (0 if from_0 else None) if 0 in fingers else 1,
    }


def _first_number(numbers: set[int], count: int) -> int | None:
    """0, or 1 where all these numbers fit only so; None where they do not fit at all."""
    return next((first for first in (0, 1) if numbers <= set(range(first, first + count))), None)


def _model_index(label: Label) -> int | None:
    written = label.attributes.get("model_index", "")
    is_number = re.fullmatch(r"[0-9]{1,3}", written) is not None
    return int(written) if is_number and int(written) < len(keypoints.NAMES) else None


def _index_of_words(label: Label, first: Mapping[str, int | None]) -> int | None:
    for name in (label.value, label.alias or ""):
        index = _index_of_name(name, first)
        if index is not None:
            return index
    meant = {_index_of_name(word, first) for word in label.predicted_values} - {None}
    return meant.pop() if len(meant) == 1 else None


def _index_of_name(name: str, first: Mapping[str, int | None]) -> int | None:
    side, words, number = _parsed(name[:_MOST_LETTERS])
    if side is None:
        if words == ("face",) and number is not None:
            return _within(keypoints.FACE, number, first["face"])
        return keypoints.INDEX["nose"] if words == ("nose",) and number is None else None
    if number is None or words == ("hand", "root"):
        known = keypoints.INDEX.get("_".join([side, *words]))
        if known is not None:
            return known
    return _hand_point(side, words, number, first)


def _hand_point(
    side: str, words: Sequence[str], number: int | None, first: Mapping[str, int | None]
) -> int | None:
    hand = keypoints.LEFT_HAND if side == "left" else keypoints.RIGHT_HAND
    if words == ("hand",):
        return None if number is None else _within(hand, number, first["hand"])
    part, *joint = [word for word in words if word != "hand"] or [""]
    if part == "wrist" and not joint:  # that of the arm is no number, and called no hand's
        return hand.start if number in (None, 0) else None
    if part not in _FINGERS:
        return None
    finger = _FINGERS[part]
    place = _named_joint(finger, joint) if number is None else None
    if number is not None and not joint:
        place = _numbered_joint(finger, number, first["finger"])
    return None if place is None else keypoints.INDEX[f"{side}_{finger}{place}"]


def _named_joint(finger: str, joint: Sequence[str]) -> int | None:
    names = _THUMB_JOINTS if finger == "thumb" else _FINGER_JOINTS
    return names.index(joint[0]) + 1 if len(joint) == 1 and joint[0] in names else None


def _numbered_joint(finger: str, number: int, first: int | None) -> int | None:
    """1 to 4; numbers may also run on through the hand: thumb 1-4, index 5-8."""
    if first is None:
        return None
    before = _JOINTS_OF_A_FINGER * keypoints.FINGERS.index(finger)
    joint = number + 1 - first if number <= _JOINTS_OF_A_FINGER else number - before
    return joint if 1 <= joint <= _JOINTS_OF_A_FINGER else None


def _within(points: range, number: int, first: int | None) -> int | None:
    place = -1 if first is None else number - first
    return points[place] if 0 <= place < len(points) else None


@lru_cache(maxsize=1024)  # each read of a result asks for those of its project
def _parsed(name: str) -> tuple[str | None, tuple[str, ...], int | None]:
    """A name's side, its words without fillers, and the number at its end."""
    tokens = [token.lower() for token in _TOKENS.findall(name)]
    is_numbered = bool(tokens) and re.fullmatch(r"[0-9]{1,3}", tokens[-1]) is not None
    number = int(tokens.pop()) if is_numbered else None
    side = next((_SIDES[token] for token in tokens if token in _SIDES), None)
    words = tuple(token for token in tokens if token not in _SIDES and token not in _FILLERS)
    if words[1:] == ("toe",) and words[0] in _SMALL_TOE:
        words = ("small", "toe")
    return side, words, number
