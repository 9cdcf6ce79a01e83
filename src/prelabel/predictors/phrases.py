"""Prompts of phrase-grounding detectors: built from phrases, and read back from token scores.

Pure: numpy in, numpy out. Letters in shapes: Q queries (candidate boxes) of the model, T token
places of its text, N findings.
"""

from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import structlog
from numpy.typing import NDArray

from prelabel.errors import ModelError
from prelabel.geometry import clip_boxes, non_maximum_suppression
from prelabel.types import Detections, Float32Array, Phrase, require_shape

log = structlog.get_logger(__name__)

IOU_SAME_PART = 0.5
IOU_OTHER_PART = 0.9
"""Boxes of one label and body part overlapping more than this are one finding; boxes of different
parts only when they are nearly the same box, because a face lies inside a full body."""

Tokenize = Callable[[str], list[int]]
"""Token ids of a text, with the model's start and end tokens around them."""


@dataclass(frozen=True, slots=True)
class Prompt:
    """A text that the model reads in one go, and where each phrase stands in it.

    Attributes:
        text: Phrases in lower case, joined by ". ", with a "." at the end.
        phrases: What is asked for, in the order of the text.
        spans: For each phrase the places of its tokens in the tokenised text.
    """

    text: str
    phrases: tuple[Phrase, ...]
    spans: tuple[tuple[int, ...], ...]


@dataclass(frozen=True, slots=True, eq=False)
class Reading:
    """What the model says about one image and one prompt.

    Attributes:
        probabilities: (Q, T) float32, how well each query fits each token; 0..1, or NaN.
        boxes_cxcywh: (Q, 4) float32, centre and size as fractions of the image.
    """

    probabilities: Float32Array
    boxes_cxcywh: Float32Array

    def __post_init__(self) -> None:
        require_shape("probabilities", self.probabilities, (None, None), np.float32)
        require_shape("boxes_cxcywh", self.boxes_cxcywh, (len(self.probabilities), 4), np.float32)

    @property
    def is_finite(self) -> bool:
        """Whether every number is one."""
        return bool(np.isfinite(self.probabilities).all() and np.isfinite(self.boxes_cxcywh).all())


@dataclass(frozen=True, slots=True)
class Selection:
    """Which candidate boxes become findings.

    Attributes:
        box_threshold: A phrase's score, the best probability among its tokens, must reach this.
        text_threshold: A token counts as matched above this. A phrase can name a box only when at
            least half of its tokens are matched. The transformers library compares each token
            with its `text_threshold` in the same way, to write the matched ones into the label.
        max_detections: At most so many findings per image, the best by score.
    """

    box_threshold: float
    text_threshold: float
    max_detections: int


def cleaned(text: str) -> str:
    """A phrase as it may stand in a prompt: lower case, single spaces, no "." and no "?".

    Both marks end a phrase for the model, so inside one they would make two of it.
    """
    return " ".join(text.lower().replace(".", " ").replace("?", " ").split())


def prompts_for(
    phrases: Iterable[Phrase],
    tokenize: Tokenize,
    delimiters: Collection[int],
    max_tokens: int,
) -> list[Prompt]:
    """As few prompts as hold all phrases, in their order.

    A text asked for twice is asked for once, under the first phrase's label. A phrase without a
    word that the tokeniser knows how to read is left out, with a log line.

    Args:
        phrases: What to look for.
        tokenize: The model's tokeniser.
        delimiters: Token ids that end a phrase, and those of start, end and padding.
        max_tokens: How many tokens the model reads; what is longer goes into further prompts.

    Raises:
        ModelError: One phrase alone is longer than `max_tokens`.
    """
    prompts: list[Prompt] = []
    waiting: list[Phrase] = []
    overhead = len(tokenize(""))
    used = overhead
    for phrase in _distinct(phrases):
        ids = tokenize(f"{cleaned(phrase.text)}.")
        if not token_spans(ids, delimiters):
            log.warning("phrase_without_words", phrase=phrase.text, label=phrase.label)
            continue
        if len(ids) > max_tokens:
            raise ModelError(
                f"phrase {phrase.text[:40]!r}",
                f"it has {len(ids) - overhead} tokens, the model reads {max_tokens - overhead}",
                "Shorten the label, or give it a shorter predicted_values in the label config.",
            )
        if used + len(ids) - overhead > max_tokens:
            prompts.append(_prompt(waiting, tokenize, delimiters))
            waiting, used = [], overhead
        waiting.append(phrase)
        used += len(ids) - overhead
    return [*prompts, _prompt(waiting, tokenize, delimiters)] if waiting else prompts


def token_spans(ids: Sequence[int], delimiters: Collection[int]) -> tuple[tuple[int, ...], ...]:
    """Places of the tokens between delimiters, one tuple per phrase, in the prompt's order."""
    spans: list[tuple[int, ...]] = []
    span: list[int] = []
    for place, token in enumerate(ids):
        if token not in delimiters:
            span.append(place)
        elif span:
            spans.append(tuple(span))
            span = []
    return (*spans, tuple(span)) if span else tuple(spans)


def detections_from(
    prompts: Sequence[Prompt],
    readings: Sequence[Reading],
    *,
    image_hw: tuple[int, int],
    selection: Selection,
    source: str,
) -> Detections:
    """Findings in one image, best first, without duplicates, cut to the image.

    Args:
        prompts: One or more; together they ask for everything that is wanted.
        readings: The model's answer to each prompt, all numbers finite.
        image_hw: Height and width of the image in pixels.
        selection: What to keep.
        source: The predictor's name.
    """
    phrases: list[Phrase] = []
    boxes, scores = [], []
    for prompt, reading in zip(prompts, readings, strict=True):
        named, best, names = _named(reading.probabilities, prompt.spans, selection)
        phrases += [prompt.phrases[name] for name in names]
        boxes.append(_corners(reading.boxes_cxcywh[named], image_hw))
        scores.append(best)
    all_boxes, all_scores = np.concatenate(boxes), np.concatenate(scores)
    kept = _without_duplicates(all_boxes, all_scores, phrases)[: selection.max_detections]
    return Detections(
        boxes_xyxy=all_boxes[kept],
        scores=all_scores[kept],
        labels=tuple(phrases[index].label for index in kept),
        body_parts=tuple(phrases[index].body_part for index in kept),
        source=source,
    )


def _distinct(phrases: Iterable[Phrase]) -> list[Phrase]:
    by_text: dict[str, Phrase] = {}
    for phrase in phrases:
        by_text.setdefault(cleaned(phrase.text), phrase)
    return list(by_text.values())


def _prompt(phrases: list[Phrase], tokenize: Tokenize, delimiters: Collection[int]) -> Prompt:
    text = ". ".join(cleaned(phrase.text) for phrase in phrases) + "."
    spans = token_spans(tokenize(text), delimiters)
    if len(spans) != len(phrases):
        raise ModelError(
            f"prompt {text[:80]!r}",
            f"the tokeniser sees {len(spans)} phrases in it where {len(phrases)} were asked for",
            "Remove special signs from the labels.",
        )
    return Prompt(text, tuple(phrases), spans)


def _named(
    probabilities: Float32Array, spans: Sequence[tuple[int, ...]], selection: Selection
) -> tuple[NDArray[np.intp], Float32Array, NDArray[np.intp]]:
    """Queries that a phrase can name (N,), their scores (N,) and the phrase of each (N,)."""
    scores = np.stack([probabilities[:, span].max(axis=1) for span in spans], axis=1)
    matched = probabilities > selection.text_threshold
    half_matched = np.stack([matched[:, span].mean(axis=1) >= 0.5 for span in spans], axis=1)  # noqa: PLR2004 - half
    can_name = (scores >= selection.box_threshold) & half_matched
    names = np.where(can_name, scores, -1).argmax(axis=1)
    named = np.flatnonzero(can_name.any(axis=1))
    return named, scores[named, names[named]], names[named]


def _corners(boxes_cxcywh: Float32Array, image_hw: tuple[int, int]) -> Float32Array:
    """Boxes (N, 4) as xyxy in pixels, cut to the image."""
    centres, halves = boxes_cxcywh[:, :2], boxes_cxcywh[:, 2:] / 2
    height, width = image_hw
    fractions = np.concatenate([centres - halves, centres + halves], axis=1)
    return clip_boxes(fractions * np.array([width, height] * 2, np.float32), image_hw)


def _without_duplicates(
    boxes_xyxy: Float32Array, scores: Float32Array, phrases: Sequence[Phrase]
) -> NDArray[np.intp]:
    """Indices of the boxes to keep, best first; what is under a pixel wide or high is dropped."""
    real = np.flatnonzero((boxes_xyxy[:, 2:] - boxes_xyxy[:, :2] >= 1).all(axis=1))
    numbers: dict[tuple[str, str | None], int] = {}
    for phrase in phrases:
        numbers.setdefault((phrase.label, phrase.body_part), len(numbers))
    groups = [numbers[phrases[index].label, phrases[index].body_part] for index in real.tolist()]
    kept = non_maximum_suppression(
        boxes_xyxy[real],
        scores[real],
        np.array(groups, np.int64),
        iou_within=IOU_SAME_PART,
        iou_across=IOU_OTHER_PART,
    )
    return real[kept]
