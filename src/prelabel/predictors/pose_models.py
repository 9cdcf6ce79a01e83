"""Which two models a whole-body pose is made of: the embedded ones, a mode's, or one's own."""

from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path

from prelabel.errors import SettingsError, WeightsUnavailable
from prelabel.predictors.download import file_digest
from prelabel.predictors.modes import MODES
from prelabel.predictors.person_detector import DetectorModel
from prelabel.predictors.pose_settings import PoseSettings
from prelabel.predictors.simcc import ChannelOrder, ScoreKind
from prelabel.predictors.weights import WeightsFolder

EMBEDDED = {
    "nanodet_person.onnx": "6a13b6fe45612dd27f134591597ea226fe4f1dc12da675a2d79fcd702d7dd24d",
    "holistic133_256x192.onnx": "999dec5b794a4d6c16497d3610e1459014042d0f8d888aea97bdba530ba0525d",
}
"""The models inside the package and their sha256; `weights/SOURCES.md` says where they are from."""


@dataclass(frozen=True, slots=True)
class PoseModel:
    """What a SimCC pose file expects and answers.

    Attributes:
        input_hw: Height and width of its input.
        scores: Whether its peaks are in 0..1 already; see `simcc.unit_scores`.
        channel_order: The RTM family was trained on RGB; "bgr" repeats what rtmlib feeds.
    """

    input_hw: tuple[int, int]
    scores: ScoreKind
    channel_order: ChannelOrder = "rgb"


@dataclass(frozen=True, slots=True)
class WholeBodyModels:
    """The two files of a whole-body pose, where they are and how they are to be used."""

    detector_path: Path
    detector: DetectorModel
    pose_path: Path
    pose: PoseModel


def embedded_folder() -> Path:
    """Where the embedded models lie."""
    return Path(str(files("prelabel") / "weights"))


def embedded_models(settings: PoseSettings) -> WholeBodyModels:
    """The models inside the package, after a look at their digests."""
    folder = embedded_folder()
    for name, digest in EMBEDDED.items():
        path = folder / name
        if not path.is_file() or file_digest(path) != digest:
            raise WeightsUnavailable(
                str(path), "it is missing or damaged", "Install prelabel again."
            )
    return WholeBodyModels(
        detector_path=folder / "nanodet_person.onnx",
        detector=DetectorModel("rtmdet", side=416, rectangular=settings.rectangular_detector),
        pose_path=folder / "holistic133_256x192.onnx",
        pose=PoseModel((256, 192), scores="unit", channel_order=settings.channel_order),
    )


def rtmlib_models(settings: PoseSettings) -> WholeBodyModels:
    """The models of the mode, or the user's own; fetched where they are not there and may be.

    Raises:
        SettingsError: The name of a detector of the user's own does not tell its kind.
        WeightsUnavailable: A file is not there and cannot be had.
    """
    mode = MODES[settings.mode]
    folder = _folder(settings)
    detector_path, pose_path = folder.get(settings.detector_file), folder.get(settings.pose_file)
    return WholeBodyModels(
        detector_path=detector_path,
        detector=detector_named(
            detector_path.name,
            side=mode.detector_side,
            rectangular=settings.rectangular_detector,
        ),
        pose_path=pose_path,
        pose=PoseModel(
            mode.pose_input_hw,
            # Our own composed model is the one whose peaks are probabilities.
            scores="unit" if pose_path.name.startswith("holistic133") else "logits",
            channel_order=settings.channel_order,
        ),
    )


def detector_named(file_name: str, *, side: int, rectangular: bool) -> DetectorModel:
    """How a detector file is to be fed, told from its name, since the file itself does not say.

    Raises:
        SettingsError: The name holds none of yolox, rtmdet, nanodet.
    """
    name = file_name.lower()
    if "yolox" in name:
        return DetectorModel("yolox", side, rectangular)
    if "rtmdet" in name or "nanodet" in name:
        return DetectorModel("rtmdet", side, rectangular)
    raise SettingsError(
        "POSE_DETECTOR",
        f"{file_name} does not tell which kind of detector it is",
        "Rename it so that its name holds yolox, rtmdet or nanodet.",
    )


def require_rtmlib_models(settings: PoseSettings) -> None:
    """Look whether the same models are here or can be fetched, without fetching them.

    Raises:
        WeightsUnavailable: One of them is not here, and no host answers for it.
    """
    folder = _folder(settings)
    folder.require(settings.detector_file)
    folder.require(settings.pose_file)


def _folder(settings: PoseSettings) -> WeightsFolder:
    return WeightsFolder(settings.model_dir, allow_downloads=settings.allow_downloads)
