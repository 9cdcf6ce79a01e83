"""`prelabel models`: which pose models there are, where they lie, and whether they are whole."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from prelabel.predictors.weights import ModelFile, WeightsFile
    from prelabel.settings import Settings

models = typer.Typer(no_args_is_help=True, help="List, fetch and check the pose models.")

ModelDir = Annotated[
    Path | None,
    typer.Option(envvar="MODEL_DIR", help="Folder of the model files; by default in your cache."),
]
Mirror = Annotated[
    str, typer.Option(envvar="MODEL_MIRROR", help="Address of a mirror that is asked first.")
]
ModeNames = Annotated[
    list[str] | None,
    typer.Argument(metavar="[MODE]...", help="performance, balanced, lightweight; default: all."),
]


@models.command("list")
def list_models(model_dir: ModelDir = None) -> None:
    """List the model files of each mode, and your own, and whether they are here."""
    settings = _settings(model_dir)
    for mode, file in chain(_files(None), _own(settings)):
        name, state = _found(_folder(settings), file)
        print(f"{mode:12} {state:>10}  {name}")
    for path in _embedded():
        print(f"{'embedded':12} {path.stat().st_size / 1e6:>7.1f} MB  {path.name}")


@models.command()
def download(modes: ModeNames = None, model_dir: ModelDir = None, mirror: Mirror = "") -> None:
    """Fetch the model files of the given modes, and your own, that are not here yet."""
    from prelabel.predictors.weights import WeightsFolder

    settings = _settings(model_dir, mirror)
    folder = WeightsFolder(_folder(settings), allow_downloads=True)
    for _, file in chain(_files(modes, settings.model_mirror), _own(settings)):
        print(folder.get(file))


@models.command()
def verify(model_dir: ModelDir = None) -> None:
    """Check every model file that is here against the digest written down when it came."""
    from prelabel.errors import WeightsUnavailable
    from prelabel.predictors.download import file_digest
    from prelabel.predictors.pose_models import EMBEDDED
    from prelabel.predictors.weights import recorded_digest

    expected = {path: EMBEDDED[path.name] for path in _embedded()}
    settings = _settings(model_dir)
    here = sorted(_folder(settings).glob("*.onnx"))
    # Those that were fetched lie there, too.
    here += [file for _, file in _own(settings) if isinstance(file, Path) and file not in here]
    expected |= {path: recorded_digest(path) for path in here}
    damaged = []
    for path, wanted in expected.items():
        try:
            digest = file_digest(path)
        except OSError as error:
            print(f"UNREADABLE: {path} ({error.strerror})")
            damaged.append(str(path))
            continue
        whole = "ok" if digest == wanted else "DAMAGED" if wanted else "no digest to compare with"
        print(f"{whole}: {path} sha256 {digest}")
        if wanted and digest != wanted:
            damaged.append(str(path))
    if damaged:
        raise WeightsUnavailable(
            ", ".join(damaged),
            "it cannot be read, or its digest is not the one that was written down",
            "Delete it and run prelabel models download, or put yours back; "
            "those in the package come back when prelabel is installed again.",
        )


@models.command()
def where(model_dir: ModelDir = None) -> None:
    """Print the folder in which model files are kept, and the one of the embedded models."""
    print(_folder(_settings(model_dir)))
    print(_embedded()[0].parent)


def _settings(model_dir: Path | None, mirror: str = "") -> Settings:
    from prelabel.cli.options import ready

    return ready(model_dir=model_dir, model_mirror=mirror or None)


def _folder(settings: Settings) -> Path:
    from prelabel.predictors.pose_settings import PoseSettings

    return PoseSettings.of(settings.options()).model_dir


def _embedded() -> list[Path]:
    from prelabel.predictors.pose_models import EMBEDDED, embedded_folder

    return [embedded_folder() / name for name in EMBEDDED]


def _own(settings: Settings) -> Iterator[tuple[str, ModelFile]]:
    """Setting and file, for each of the user's own models."""
    from prelabel.predictors.pose_settings import PoseSettings

    pose = PoseSettings.of(settings.options())
    if settings.pose_detector:
        yield "own detector", pose.detector_file
    if settings.pose_model:
        yield "own pose", pose.pose_file


def _found(folder: Path, file: ModelFile) -> tuple[str, str]:
    """What a file is called, and whether it is here."""
    from prelabel.predictors.weights import WeightsFolder

    if isinstance(file, Path):
        path, is_here, archive = file, file.is_file(), None
        name = str(file)
    else:
        path, archive = folder / file.onnx_name, folder / file.download_name
        name, is_here = file.onnx_name, WeightsFolder(folder, allow_downloads=False).is_here(file)
    if is_here:
        return name, f"{path.stat().st_size / 1e6:.1f} MB"
    return name, "as .zip" if archive and archive.is_file() else "not here"


def _files(modes: list[str] | None, mirror: str = "") -> Iterator[tuple[str, WeightsFile]]:
    """Mode and file, for each file of each mode asked for; a shared file comes with each."""
    from prelabel.predictors.modes import MODES, weights_file
    from prelabel.predictors.sessions import require_known

    for name in modes or MODES:
        require_known("mode", name, tuple(MODES))
        for path in (MODES[name].detector, MODES[name].pose):
            yield name, weights_file(path, mirror)
