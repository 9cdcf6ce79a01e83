"""Builds what notices that a model does not come back."""

from collections.abc import Callable, Iterator
from functools import partial
from importlib.util import find_spec
from pathlib import Path

from prelabel.predictors.pose_settings import default_model_dir
from prelabel.runtime.arriving import Arriving
from prelabel.runtime.hanging import Hang, Watch
from prelabel.settings import Settings


def watch_over_models(settings: Settings, hung: Callable[[Hang], None] = lambda _: None) -> Watch:
    """The watch of a process over its models.

    Args:
        settings: After how long one hangs.
        hung: Called when one hangs.
    """
    return Watch(
        settings.model_hang_seconds,
        settings.model_load_hang_seconds,
        arrived=Arriving(partial(_weights_folders, settings)),
        hung=hung,
    )


def _weights_folders(settings: Settings) -> Iterator[Path]:
    """Where prelabel and the library of the models' hub put what they fetch."""
    yield settings.model_dir or default_model_dir()
    if find_spec("huggingface_hub"):
        from huggingface_hub import constants  # noqa: PLC0415 - comes with transformers

        yield Path(constants.HF_HUB_CACHE)
