"""What a project's labels ask a text-prompted detector for."""

import re
from collections.abc import Iterable

from prelabel.labelstudio.config import Control, Label, normalised
from prelabel.types import BODY_PARTS, DISTORTION_WORDS, Phrase

DISTORTION_PROMPTS = (
    ("face", "distorted face"),
    ("hair", "distorted hair"),
    ("hand", "distorted hand"),
    ("arm", "distorted arm"),
    ("leg", "distorted leg"),
    ("torso", "distorted torso"),
    ("full_body", "distorted full body"),
)
"""Part and phrase asked for by a label such as `body_distortion`; the order is part of the prompt,
because word order changes the scores of Grounding DINO."""

_PART_WORDS = {
    "face": ("face", "head", "eye", "eyes", "mouth", "nose", "ear", "teeth"),
    "hair": ("hair",),
    "hand": ("hand", "hands", "finger", "fingers", "thumb", "palm", "wrist"),
    "arm": ("arm", "arms", "elbow", "shoulder", "forearm"),
    "leg": ("leg", "legs", "knee", "foot", "feet", "thigh", "ankle"),
    "torso": ("torso", "chest", "waist", "hip", "back"),
    "full_body": ("full body", "whole body", "body"),
}


def means_distortion(label: str) -> bool:
    """Whether a label speaks of damage rather than of a thing."""
    return any(word in normalised(label) for word in DISTORTION_WORDS)


def body_part_in(text: str) -> str | None:
    """The body part that a text names, or None. "left-hand fingers" → "hand"."""
    words = f" {normalised(text).replace('_', ' ')} "
    for part, names in _PART_WORDS.items():
        if any(f" {name} " in words for name in names):
            return part
    return None


def phrases_of(labels: Iterable[Label]) -> tuple[Phrase, ...]:
    """What to look for so that each of a control's labels can be given.

    A label's `predicted_values` are its phrases where it has them; a label that means distortion
    in general is asked for part by part; any other label is its own phrase.
    """
    phrases: list[Phrase] = []
    for label in labels:
        if label.predicted_values:
            phrases += [_phrase(text, label) for text in label.predicted_values]
        elif means_distortion(label.value) and _specific_part(label.value) is None:
            phrases += [Phrase(text, label.stored, part) for part, text in DISTORTION_PROMPTS]
        else:
            phrases.append(_phrase(label.value, label))
    return tuple(phrases)


def phrases_typed(texts: Iterable[str], control: Control) -> tuple[Phrase, ...]:
    """What an annotator's own words ask for; each is given a label that the control has.

    Words are split at full stops, commas and line ends. A text that names a label gets that
    label; any other gets the control's first.
    """
    if not control.labels:
        return ()
    split = (text.strip() for text in re.split(r"[.,;\n]", "\n".join(texts)))
    return tuple(_phrase(text, _label_named(text, control.labels)) for text in split if text)


def _phrase(text: str, label: Label) -> Phrase:
    words = normalised(text).replace("_", " ")
    return Phrase(words or text, label.stored, body_part_in(text))


def _specific_part(text: str) -> str | None:
    """The part named by a label, unless it is the "body" of `body_distortion`."""
    part = body_part_in(text)
    return None if part == "full_body" else part


def _label_named(text: str, labels: tuple[Label, ...]) -> Label:
    wanted = f"_{normalised(text)}_"
    for label in labels:
        if any(f"_{normalised(name)}_" in wanted for name in label.names):
            return label
    return labels[0]


def part_choices(choices: Iterable[Label]) -> dict[str, str]:
    """Which stored choice stands for which body part, for choices that name body parts."""
    found = {normalised(choice.value): choice.stored for choice in choices}
    return {part: found[part] for part in BODY_PARTS if part in found}
