"""Checks of model files: whether they are here, and whether they are whole."""

import re
from pathlib import Path

from prelabel.doctor.case import Case
from prelabel.doctor.diagnosis import Diagnosis, failure, ok, skipped, warning
from prelabel.doctor.packages import GROUNDING_DINO, WHY_BOXES
from prelabel.errors import WeightsUnavailable
from prelabel.predictors.download import file_digest
from prelabel.predictors.grounding_dino_options import GroundingDinoOptions, require_weights
from prelabel.predictors.pose_models import EMBEDDED, embedded_models
from prelabel.predictors.pose_settings import PoseSettings
from prelabel.predictors.weights import WeightsFolder, recorded_digest

_WHY_EMBEDDED = "The smaller models inside the package answer instead."
_WHY_DAMAGED = "A damaged model does not open, or finds nonsense."


def boxes_weights(case: Case) -> Diagnosis:
    """Whether Grounding DINO's weights are here, with the digest that the hub gave them."""
    if case.settings.boxes_predictor != GROUNDING_DINO:
        return skipped(f"BOXES_PREDICTOR is {case.settings.boxes_predictor}")
    if "transformers" not in case.machine.packages:
        return skipped("transformers is not installed")
    options = GroundingDinoOptions.of(case.settings.options())
    try:
        require_weights(options)
    except WeightsUnavailable as error:
        return warning(f"{error.thing}: {error.cause}", WHY_BOXES, error.next_step)
    return _where_it_is(options)


def pose_weights(case: Case) -> Diagnosis:
    """Whether the pose models of the mode, or one's own, are here and whole."""
    if case.settings.poses_predictor != "rtmlib":
        return skipped(f"POSES_PREDICTOR is {case.settings.poses_predictor}")
    pose = PoseSettings.of(case.settings.options())
    folder = WeightsFolder(pose.model_dir, allow_downloads=False)
    files = (pose.detector_file, pose.pose_file)
    wanted = [folder.path(file) for file in files]
    try:
        missing = [str(folder.path(file)) for file in files if not folder.is_here(file)]
    except WeightsUnavailable as error:
        return warning(f"{error.thing}: {error.cause}", _WHY_EMBEDDED, error.next_step)
    fetch = f"MODEL_DIR={pose.model_dir} prelabel models download {pose.mode}"
    if missing:
        if pose.allow_downloads:
            why = "The first prediction fetches them, and waits for that."
        else:
            why = f"ALLOW_DOWNLOADS is false. {_WHY_EMBEDDED}"
        return warning(f"not here: {', '.join(missing)}", why, fetch)
    recorded = {path: recorded_digest(path) for path in wanted}
    damaged = [str(p) for p, digest in recorded.items() if digest and file_digest(p) != digest]
    if damaged:
        return failure(
            f"damaged: {', '.join(damaged)}", _WHY_DAMAGED, f"rm {' '.join(damaged)} && {fetch}"
        )
    whole = " and whole" if all(recorded.values()) else ", with no digest to compare with"
    return ok(f"{' and '.join(path.name for path in wanted)} are here{whole}")


def embedded_weights(case: Case) -> Diagnosis:
    """Whether the models inside the package are whole.

    Raises:
        WeightsUnavailable: They are not.
    """
    del case
    embedded_models(PoseSettings.of({}))
    return ok(f"{' and '.join(EMBEDDED)} are whole")


def _where_it_is(options: GroundingDinoOptions) -> Diagnosis:
    """On a model that is here or may be fetched: which of the two, and whether it is whole."""
    if not options.local_only:
        return warning(
            f"{options.model_id} is not here yet",
            "The first prediction fetches it, and waits for that.",
            f"hf download {options.model_id}",
        )
    if Path(options.model_id).expanduser().is_dir():
        return ok(f"folder {options.model_id}")
    from huggingface_hub import constants  # noqa: PLC0415 - comes with transformers

    cached = Path(constants.HF_HUB_CACHE) / f"models--{options.model_id.replace('/', '--')}"
    damaged = [path for path in cached.glob("blobs/*") if _differs_from_its_name(path)]
    if damaged:
        return failure(
            f"{options.model_id} is damaged: {damaged[0]}",
            _WHY_DAMAGED,
            f"hf download --force-download {options.model_id}",
        )
    return ok(f"{options.model_id} is here and whole")


def _differs_from_its_name(blob: Path) -> bool:
    """Whether a file of the hub's cache is other than its name, where that is a sha256."""
    return re.fullmatch(r"[0-9a-f]{64}", blob.name) is not None and file_digest(blob) != blob.name
