"""The 133 keypoints of COCO-WholeBody in MMPose's order: names, groups, links, mirrors, sigmas.

Source of the figures: COCO-WholeBody (Jin et al., ECCV 2020) as written down in open-mmlab/mmpose,
`configs/_base_/datasets/coco_wholebody.py` at commit 759b39c (Apache-2.0). Index ranges are
half-open. Left and right are the person's own.
"""

BODY_NAMES = (
    "nose",
    *(f"{side}_{joint}" for joint in ("eye", "ear") for side in ("left", "right")),
    *(f"{side}_{joint}" for joint in ("shoulder", "elbow", "wrist") for side in ("left", "right")),
    *(f"{side}_{joint}" for joint in ("hip", "knee", "ankle") for side in ("left", "right")),
)
FEET_NAMES = tuple(
    f"{side}_{point}" for side in ("left", "right") for point in ("big_toe", "small_toe", "heel")
)
FACE_NAMES = tuple(f"face-{number}" for number in range(68))
FINGERS = ("thumb", "forefinger", "middle_finger", "ring_finger", "pinky_finger")
HAND_NAMES = (
    "hand_root",
    *(f"{finger}{joint}" for finger in FINGERS for joint in range(1, 5)),
)

NAMES: tuple[str, ...] = (
    *BODY_NAMES,
    *FEET_NAMES,
    *FACE_NAMES,
    *(f"left_{name}" for name in HAND_NAMES),
    *(f"right_{name}" for name in HAND_NAMES),
)
"""Name of each keypoint; its place is the keypoint's index."""

INDEX: dict[str, int] = {name: index for index, name in enumerate(NAMES)}
"""Index of each name."""

BODY = range(17)
FEET = range(17, 23)
FACE = range(23, 91)
LEFT_HAND = range(91, 112)
RIGHT_HAND = range(112, 133)
GROUPS: dict[str, range] = {
    "body": BODY,
    "feet": FEET,
    "face": FACE,
    "left_hand": LEFT_HAND,
    "right_hand": RIGHT_HAND,
}
"""Indices of each group; together they are all 133, in order."""

GROUP_COLOURS: dict[str, str] = {
    "body": "#56B4E9",
    "feet": "#009E73",
    "face": "#F0E442",
    "left_hand": "#E69F00",
    "right_hand": "#CC79A7",
}
"""A colour for each group, of Okabe and Ito's palette, which colour-blind people can tell apart."""


def _hand_links(root: int) -> tuple[tuple[int, int], ...]:
    """Links of a hand: from its root along each finger of four joints."""
    return tuple(
        (root if joint == 0 else root + 4 * finger + joint, root + 4 * finger + joint + 1)
        for finger in range(len(FINGERS))
        for joint in range(4)
    )


# fmt: off
LINKS: tuple[tuple[int, int], ...] = (
    (15, 13), (13, 11), (16, 14), (14, 12), (11, 12), (5, 11), (6, 12), (5, 6), (5, 7), (6, 8),
    (7, 9), (8, 10), (1, 2), (0, 1), (0, 2), (1, 3), (2, 4), (3, 5), (4, 6),
    (15, 17), (15, 18), (15, 19), (16, 20), (16, 21), (16, 22),
    *_hand_links(LEFT_HAND.start),
    *_hand_links(RIGHT_HAND.start),
)
"""The 65 pairs of keypoints that a skeleton joins by a line."""

_FACE_MIRRORS = (
    *((number, 16 - number) for number in range(8)),  # jaw
    *((17 + number, 26 - number) for number in range(5)),  # eyebrows
    (31, 35), (32, 34),  # nostrils
    (36, 45), (37, 44), (38, 43), (39, 42), (40, 47), (41, 46),  # eyes
    (48, 54), (49, 53), (50, 52), (55, 59), (56, 58),  # outer lip
    (60, 64), (61, 63), (65, 67),  # inner lip
)

SWAP_PAIRS: tuple[tuple[int, int], ...] = (
    *((left, left + 1) for left in range(1, 17, 2)),
    *((left, left + 3) for left in range(17, 20)),
    *((FACE.start + left, FACE.start + right) for left, right in _FACE_MIRRORS),
    *zip(LEFT_HAND, RIGHT_HAND, strict=True),
)
"""The 61 pairs that change places in a mirrored picture; the other keypoints keep theirs."""

_HAND_SIGMAS = (
    .029, .022, .035, .037, .047, .026, .025, .024, .035, .018, .024,
    .022, .026, .017, .021, .021, .032, .02, .019, .022, .031,
)

SIGMAS: tuple[float, ...] = (
    .026, .025, .025, .035, .035, .079, .079, .072, .072, .062, .062, .107, .107, .087, .087,
    .089, .089,
    .068, .066, .066, .092, .094, .094,
    .042, .043, .044, .043, .04, .035, .031, .025, .02, .023, .029, .032, .037, .038, .043, .041,
    .045, .013, .012, .011, .011, .012, .012, .011, .011, .013, .015, .009, .007, .007, .007, .012,
    .009, .008, .016, .01, .017, .011, .009, .011, .009, .007, .013, .008, .011, .012, .01, .034,
    .008, .008, .009, .008, .008, .007, .01, .008, .009, .009, .009, .007, .007, .008, .011, .008,
    .008, .008, .01, .008,
    *_HAND_SIGMAS,
    *_HAND_SIGMAS,
)
"""Spread of human annotations of each keypoint, relative to the person's size, as OKS uses it."""
# fmt: on
