"""Detectors of the Grounding DINO family with random weights: for benchmarks and for tests."""

import string
from pathlib import Path
from typing import Any

USUAL_WORDS = ("distorted", "face", "hair", "hand", "arm", "leg", "torso", "full", "body")
"""One token each, as in BERT's vocabulary, so that usual prompts have their usual length."""


def write_random_model(folder: Path, config: Any) -> None:
    """Save a detector of this configuration with random weights, and its processor.

    It needs no download: the vocabulary is a few words, and the letters that any other is spelt
    with. The marks stand at the ids that the architecture has built in for BERT's vocabulary.

    Args:
        folder: Where to write.
        config: A `GroundingDinoConfig` or `MMGroundingDinoConfig`, of any size with room for
            1,100 words.
    """
    import torch
    import transformers

    transformers.utils.logging.disable_progress_bar()
    torch.manual_seed(0)
    detector = transformers.AutoModelForZeroShotObjectDetection.from_config(config)
    with torch.no_grad():
        for name, weights in detector.named_parameters():
            if "bbox_embed" in name and "layers.2" in name:
                weights.normal_(0, 0.5)  # starts as 0, and every box would stay its first guess
    detector.save_pretrained(folder)
    transformers.GroundingDinoProcessor(
        transformers.GroundingDinoImageProcessorPil(),
        transformers.BertTokenizer(vocab=_vocabulary()),
    ).save_pretrained(folder)


def _vocabulary() -> dict[str, int]:
    words = {0: "[PAD]", 100: "[UNK]", 101: "[CLS]", 102: "[SEP]", 103: "[MASK]"}
    words |= {1010: ",", 1012: ".", 1029: "?"}
    for place, sign in enumerate(string.ascii_lowercase + string.digits):
        words[200 + place], words[300 + place] = sign, f"##{sign}"
    for place, word in enumerate(USUAL_WORDS):
        words[600 + place] = word
    return {words.get(number, f"[unused{number}]"): number for number in range(1100)}
