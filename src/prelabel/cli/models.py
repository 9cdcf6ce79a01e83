"""`prelabel models`: which pose models there are, where they lie, and whether they are whole."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from prelabel.predictors.weights import WeightsFile
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
    """List the model files of each mode and whether they are here."""
    folder = _folder(_settings(model_dir))
    for mode, file in _files(None):
        path, archive = folder / file.onnx_name, folder / file.download_name
        state = "as .zip" if archive.is_file() else "not here"
        if path.is_file():
            state = f"{path.stat().st_size / 1e6:.1f} MB"
        print(f"{mode:12} {state:>10}  {file.onnx_name}")
    for path in _embedded():
        print(f"{'embedded':12} {path.stat().st_size / 1e6:>7.1f} MB  {path.name}")


@models.command()
def download(modes: ModeNames = None, model_dir: ModelDir = None, mirror: Mirror = "") -> None:
    """Fetch the model files of the given modes that are not here yet."""
    from prelabel.predictors.weights import WeightsFolder

    settings = _settings(model_dir, mirror)
    folder = WeightsFolder(_folder(settings), allow_downloads=True)
    for _, file in _files(modes, settings.model_mirror):
        print(folder.get(file))


@models.command()
def verify(model_dir: ModelDir = None) -> None:
    """Check every model file that is here against the digest written down when it came."""
    from prelabel.errors import WeightsUnavailable
    from prelabel.predictors.download import file_digest
    from prelabel.predictors.pose_models import EMBEDDED
    from prelabel.predictors.weights import recorded_digest

    expected = {path: EMBEDDED[path.name] for path in _embedded()}
    folder = _folder(_settings(model_dir))
    expected |= {path: recorded_digest(path) for path in sorted(folder.glob("*.onnx"))}
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
            "Delete it and run prelabel models download; "
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


def _files(modes: list[str] | None, mirror: str = "") -> Iterator[tuple[str, WeightsFile]]:
    """Mode and file, for each file of each mode asked for; a shared file comes with each."""
    from prelabel.predictors.modes import MODES, weights_file
    from prelabel.predictors.sessions import require_known

    for name in modes or MODES:
        require_known("mode", name, tuple(MODES))
        for path in (MODES[name].detector, MODES[name].pose):
            yield name, weights_file(path, mirror)
