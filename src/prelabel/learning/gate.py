"""Whether a new version of the learner may answer: it is tried on frames that are hidden from it.

Hidden frames are learnt around as if nobody had annotated them: objects are linked and rules are
chosen anew without them. Leaving one out: every fifth annotated frame is hidden, five times, until
each had its turn; a hidden frame keeps its neighbours, as if it alone were left out. Leaving a gap
out: the same with every third pair of neighbours. Only frames between annotated ones are tried.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np

from prelabel.learning.frames import FrameKey
from prelabel.learning.hidden import (
    Guess,
    Kinds,
    boxes_of,
    compare,
    guess,
    guess_copies,
    hidden_in_turn,
    matches,
    relearn,
    scaled_guess,
)
from prelabel.learning.marks import MarkedFrame
from prelabel.learning.sequence import Learned

TOLERANCE = 0.02
"""A new version may be worse by so much mean IoU; less is chance."""
GAP = 2
"""So many annotated frames in a row are hidden to see what a gap does; it is three strides."""
BINS = (0.5, 0.6, 0.7, 0.8, 0.9, 1.0)


@dataclass(frozen=True, slots=True)
class Verdict:
    """Whether a new version may answer.

    Attributes:
        accepted: Whether it may.
        reason: Why or why not, as the end of a sentence, for people.
        new_iou: Its mean IoU where both versions answer; None where there is no such frame.
        old_iou: The same of the old version.
    """

    accepted: bool
    reason: str
    new_iou: float | None = None
    old_iou: float | None = None


def figures(frames: Sequence[MarkedFrame], learned: Learned) -> dict[str, Any]:
    """How well frames are found again that are hidden, as an object of plain values.

    `leave_one_out` and `leave_a_gap_out` hold, for the `learner`, for the `nearest` annotated
    frame copied and for `linear` interpolation of the same tracks:

    - `marks`: how many marks were hidden, `found`: how many of them were met with IoU >= 0.5,
      `missed`: how many no answer touches, `extra`: how many answers touch nothing;
    - `mean_iou`: over all hidden marks, 0 for those missed;
    - `centre_error_px`, `centre_error_pct`: mean distance of the centres of those not missed, in
      pixels, and in percent of the image's diagonal.

    `reliability` compares the learner's confidence with the IoU that it reached.

    Args:
        frames: What is taken for true; frames of sequences that are not known are passed over.
        learned: Learnt from these frames.
    """
    truth = _known(frames, learned)
    kinds = learned.kinds
    report: dict[str, Any] = {"frames": len(truth)}
    reached: list[tuple[float, float]] = []
    for name, run in (("leave_one_out", 1), ("leave_a_gap_out", GAP)):
        turns = hidden_in_turn(truth, run)
        relearnt = relearn(learned.frames, kinds, learned.options, turns)
        straight = [(clip.by("linear"), asked) for clip, asked in relearnt]
        said = {
            "learner": guess(relearnt),
            "nearest": guess_copies(learned.frames, kinds, turns),
            "linear": guess(straight, sure=False),
        }
        silence = {key: Guess((0, 0)) for key in turns}
        report[name] = {
            who: compare(truth, silence | guesses, kinds).as_json() for who, guesses in said.items()
        }
        reached += _reached(truth, said["learner"], kinds)
    report["reliability"] = _reliability(reached)
    return report


def judge(frames: Sequence[MarkedFrame], new: Learned, old: Learned | None) -> Verdict:
    """Whether the new version may take the old one's place.

    Each version finds each annotated frame of today again, hidden from it. The new one is refused
    only if its mean IoU, on the frames for which both have an answer, is lower by more than
    `TOLERANCE`. Why this is the right question:

    - What people say today is the truth, also where they corrected themselves: an old version
      that learnt from a wrong mark is measured against the corrected one.
    - An answer that nobody drew counts as IoU 0. So a version that learnt from marks which were
      since deleted as wrong pays for carrying them on.
    - Silence costs nothing: an object that flickers is seen on fewer frames the more of them are
      annotated, and its tracks end at each frame on which people say that it is gone.
    - Annotations added elsewhere cannot harm: where the old version has no answer, nothing is
      compared. Nor can a harder video bring the mean down, for both are asked the same.
    - It bites where marks are wrong now that were right before: the marks of the frames around
      them, which are still right, are then found by the old version and not by the new one.

    Deleting many right annotations makes the learner worse, and is refused like any other loss.

    Args:
        frames: What people say today.
        new: Learnt from it.
        old: What answers now; None at the first time, when there is nothing to lose.
    """
    if old is None:
        return Verdict(accepted=True, reason="nothing was learnt before")
    truth = _known(frames, new)
    turns = hidden_in_turn(truth, 1)
    kinds = {
        sequence: tuple(set(carried) & set(old.kinds.get(sequence, ())))
        for sequence, carried in new.kinds.items()
    }
    by_new, by_old = (
        guess(relearn(version.frames, kinds, version.options, turns)) for version in (new, old)
    )
    both = by_new.keys() & by_old.keys()
    if not both:
        return Verdict(accepted=True, reason="no frame is answered by both versions")
    new_iou, old_iou = (
        compare(truth, {key: guesses[key] for key in both}, kinds).mean_of_frames
        for guesses in (by_new, by_old)
    )
    said = (
        f"on {len(both)} annotated frames hidden from it, the new version reaches a mean IoU of "
        f"{new_iou:.3f}, the old one {old_iou:.3f}"
    )
    return Verdict(new_iou >= old_iou - TOLERANCE, said, new_iou, old_iou)


def _known(frames: Sequence[MarkedFrame], learned: Learned) -> list[MarkedFrame]:
    """The frames of sequences that were learnt, by sequence and number."""
    known = [frame for frame in frames if frame.key.sequence in learned.sequences]
    return sorted(known, key=lambda frame: (frame.key.sequence, frame.key.index))


def _reached(
    truth: Sequence[MarkedFrame], guesses: Mapping[FrameKey, Guess], kinds: Kinds
) -> list[tuple[float, float]]:
    """Of each answer, its confidence and the IoU with the mark that it meets, else 0."""
    pairs: list[tuple[float, float]] = []
    for frame in truth:
        answer = guesses.get(frame.key)
        if answer is None:
            continue
        for kind in kinds.get(frame.key.sequence, ()):
            said = scaled_guess(answer, frame, kind)
            ious = np.zeros(len(said))
            _, columns, overlap = matches(boxes_of(frame, kind), said)
            ious[columns] = overlap
            if len(said):
                pairs += zip(answer.confidence[kind].tolist(), ious.tolist(), strict=True)
    return pairs


def _reliability(pairs: Sequence[tuple[float, float]]) -> list[dict[str, Any]]:
    """What answers of each range of confidence came to."""
    rows = np.array(pairs).reshape(-1, 2)
    table = []
    for low, high in pairwise(BINS):
        own = rows[(rows[:, 0] >= low) & ((rows[:, 0] < high) | (high == BINS[-1]))]
        means = own.mean(0).round(4).tolist() if len(own) else [None, None]
        table.append(
            {"from": low, "to": high, "count": len(own),
             "mean_confidence": means[0], "mean_iou": means[1]}
        )  # fmt: skip
    return table
