"""Checks of the models: their packages, devices, files, and the room for them."""

from pathlib import Path

from prelabel.doctor.finding import Finding, ok, warning
from prelabel.doctor.machine import Machine
from prelabel.errors import WeightsUnavailable
from prelabel.predictors.grounding_dino_options import (
    SETTING_NAMES,
    GroundingDinoOptions,
    require_weights,
)
from prelabel.predictors.modes import MODES, weights_file
from prelabel.predictors.pose_settings import PoseSettings
from prelabel.predictors.weights import WeightsFolder
from prelabel.predictors.wholebody import EMBEDDED, embedded_models
from prelabel.settings import Settings

GROUNDING_DINO = "grounding-dino"
LEAST_FREE_BYTES = 2_000_000_000
"""Twice the models of one mode and grounding-dino-tiny: an archive is unpacked beside itself."""

_WHY_BOXES = "Boxes come from the OpenCV detector instead, which sees only what flickers."


def boxes_packages(machine: Machine, settings: Settings) -> Finding:
    """Whether torch and transformers are there, and the device that they are to use."""
    if settings.boxes_predictor != GROUNDING_DINO:
        return ok(f"not needed: BOXES_PREDICTOR is {settings.boxes_predictor}")
    missing = [name for name in ("torch", "transformers") if name not in machine.packages]
    if missing:
        return warning(
            f"not installed: {', '.join(missing)}",
            _WHY_BOXES,
            machine.pip("install 'prelabel[grounding-dino]'"),
        )
    found = f"torch {machine.packages['torch']}, transformers {machine.packages['transformers']}"
    device = settings.grounding_dino_device
    kind = device.partition(":")[0]
    if kind == "cpu":
        return ok(found)
    usable = {"cuda": "torch.cuda.is_available()", "mps": "torch.backends.mps.is_available()"}
    trial = machine.run(f"import torch; print({usable.get(kind, False)})")
    if trial.ok and trial.said == "True":
        return ok(f"{found}, {device} usable")
    return warning(
        f"{found}: {device} cannot be used{'' if trial.ok else f' ({trial.said})'}",
        f"GROUNDING_DINO_DEVICE is {device}, but boxes are found on the CPU, many times slower.",
        "Check the driver with `nvidia-smi`, then "
        f"{machine.pip('install --force-reinstall torch')}; or set GROUNDING_DINO_DEVICE=cpu.",
    )


def boxes_weights(machine: Machine, settings: Settings) -> Finding:
    """Whether Grounding DINO's weights are here."""
    if settings.boxes_predictor != GROUNDING_DINO or "transformers" not in machine.packages:
        return ok("not needed")
    values = settings.options()
    chosen = {field: values[name] for name, field in SETTING_NAMES.items()}
    options = GroundingDinoOptions(**chosen)
    try:
        require_weights(options)
    except WeightsUnavailable as error:
        return warning(f"{error.thing}: {error.cause}", _WHY_BOXES, error.next_step)
    if options.local_only:
        return ok(f"{options.model_id} is here")
    return warning(
        f"{options.model_id} is not here yet",
        "The first prediction fetches it, and waits for that.",
        f"hf download {options.model_id}",
    )


def pose_weights(machine: Machine, settings: Settings) -> Finding:
    """Whether the pose models of the mode, or the user's own, are here."""
    del machine
    if settings.poses_predictor != "rtmlib":
        return ok(f"not needed: POSES_PREDICTOR is {settings.poses_predictor}")
    pose = PoseSettings.of(settings.options())
    folder = WeightsFolder(pose.model_dir, allow_downloads=False)
    mode = MODES[pose.mode]
    wanted = [
        Path(own).expanduser() if own and "://" not in own else folder.path(weights_file(own or of))
        for own, of in ((pose.detector_file, mode.detector), (pose.pose_file, mode.pose))
    ]
    missing = [str(path) for path in wanted if not path.is_file()]
    if not missing:
        return ok(f"rtmlib-{pose.mode} in {pose.model_dir}")
    fetch = f"MODEL_DIR={pose.model_dir} prelabel models download {pose.mode}"
    if pose.allow_downloads:
        why = "The first prediction fetches them, and waits for that."
    else:
        why = "ALLOW_DOWNLOADS is false, so that the smaller models inside the package answer."
    return warning(f"not here: {', '.join(missing)}", why, fetch)


def embedded_weights(machine: Machine, settings: Settings) -> Finding:
    """Whether the models inside the package are whole.

    Raises:
        WeightsUnavailable: They are not.
    """
    del machine, settings
    embedded_models(PoseSettings.of({}))
    return ok(f"{' and '.join(EMBEDDED)} are whole")


def disk_space(machine: Machine, settings: Settings) -> Finding:
    """Whether there is room where models are kept."""
    pose = PoseSettings.of(settings.options())
    folders = {"MODEL_DIR": pose.model_dir}
    if "huggingface-hub" in machine.packages:
        from huggingface_hub import constants  # noqa: PLC0415 - comes with transformers

        folders["HF_HUB_CACHE"] = Path(constants.HF_HUB_CACHE)
    free = {name: machine.free_bytes(_existing(folder)) for name, folder in folders.items()}
    found = ", ".join(f"{free[name] / 1e9:.1f} GB for {folders[name]}" for name in folders)
    tight = [name for name in folders if free[name] < LEAST_FREE_BYTES]
    if not tight:
        return ok(found)
    return warning(
        found,
        f"A download of models may need {LEAST_FREE_BYTES / 1e9:.0f} GB.",
        f"Make room, or set {' and '.join(tight)} to a folder on a larger disk.",
    )


def _existing(folder: Path) -> Path:
    """The folder, or the nearest one above it that exists."""
    return next(
        place for place in (folder.absolute(), *folder.absolute().parents) if place.exists()
    )
