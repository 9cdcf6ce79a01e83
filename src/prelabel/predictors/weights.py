"""Model files: found in a folder, or fetched into it once, whole, by one process at a time."""

import shutil
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias
from urllib.parse import urlsplit

import structlog

from prelabel.errors import MissingPackage, WeightsUnavailable
from prelabel.media.references import shown
from prelabel.predictors.download import fetch, file_digest, refusal

log = structlog.get_logger(__name__)

LOCK_TIMEOUT_S = 1800.0
FILE_MODE = 0o644  # whoever else uses a shared folder may read it


@dataclass(frozen=True, slots=True)
class WeightsFile:
    """A model file that can be fetched.

    Attributes:
        urls: Where it can be had, first choice first: an `.onnx`, or a `.zip` that holds one.
        sha256: Digest of the fetched file where it is known, else "".
    """

    urls: tuple[str, ...]
    sha256: str = ""

    @property
    def download_name(self) -> str:
        """Name of the file that is fetched."""
        return Path(urlsplit(self.urls[0]).path).name

    @property
    def onnx_name(self) -> str:
        """Name of the model that is kept."""
        return f"{Path(self.download_name).stem}.onnx"


ModelFile: TypeAlias = WeightsFile | Path
"""A model file: one that can be fetched, or one of the user's own, an `.onnx` or a `.zip`."""


class WeightsFolder:
    """A folder of model files, shared by any number of processes."""

    def __init__(self, folder: Path, *, allow_downloads: bool) -> None:
        """Nothing is read or made yet."""
        self._folder = folder
        self._allow_downloads = allow_downloads

    def path(self, file: ModelFile) -> Path:
        """Where the file is, whether it is there or not."""
        return file if isinstance(file, Path) else self._folder / file.onnx_name

    def require(self, file: ModelFile) -> None:
        """Look whether a model is here or can be fetched, without fetching it.

        Raises:
            WeightsUnavailable: It is not here, and no host answers for it.
        """
        if isinstance(file, Path):
            _require_own(file)
        elif not self.path(file).is_file() and not self._archive(file).is_file():
            self._require_downloads(file)
            causes = [refusal(url) for url in file.urls]
            if all(causes):
                raise self._unavailable(file, f"it cannot be fetched ({'; '.join(causes)})")

    def get(self, file: ModelFile) -> Path:
        """The path of an `.onnx`, after fetching it, or unpacking a `.zip` that somebody has.

        Raises:
            WeightsUnavailable: It is not there and cannot be had; names file, address, folder.
        """
        if isinstance(file, Path):
            return self._own(file)
        path = self.path(file)
        if not path.is_file():
            with self._alone_with(path):
                if not path.is_file():
                    self._make(file, path)
        return path

    def _own(self, file: Path) -> Path:
        _require_own(file)
        if file.suffix != ".zip":
            return file
        path = self._folder / f"{file.stem}.onnx"
        with self._alone_with(path):
            if not path.is_file() or path.stat().st_mtime < file.stat().st_mtime:
                unpack(file, path)
        return path

    def _archive(self, file: WeightsFile) -> Path:
        """Where somebody who fetched the file by hand may have put it; of an `.onnx` its path."""
        return self._folder / file.download_name

    def _make(self, file: WeightsFile, path: Path) -> None:
        archive = self._archive(file)
        if archive.is_file():
            unpack(archive, path)
            return
        self._require_downloads(file)
        part = self._folder / f"{file.download_name}.part"
        causes = []
        for url in file.urls:
            log.info("download_started", url=shown(url), folder=str(self._folder))
            try:
                fetch(url, part, file.sha256)
                unpack_or_move(part, path)
            except WeightsUnavailable as error:
                log.warning("download_failed", url=shown(url), cause=error.cause)
                causes.append(f"{urlsplit(url).hostname}: {error.cause}")
            else:
                log.info("download_finished", file=str(path), bytes=path.stat().st_size)
                return
        raise self._unavailable(file, f"the download failed ({'; '.join(causes)})")

    def _require_downloads(self, file: WeightsFile) -> None:
        if not self._allow_downloads:
            raise self._unavailable(file, "it is not there, and ALLOW_DOWNLOADS is false")

    def _unavailable(self, file: WeightsFile, cause: str) -> WeightsUnavailable:
        return WeightsUnavailable(
            str(self.path(file)),
            cause,
            f"Fetch {shown(file.urls[0])} where that is possible and put it into {self._folder}, "
            "or into another folder that MODEL_DIR names.",
        )

    @contextmanager
    def _alone_with(self, path: Path) -> Iterator[None]:
        """Hold the lock of a model file against all other processes and threads."""
        try:
            from filelock import FileLock  # noqa: PLC0415 - comes with the extra "pose"
        except ImportError as error:
            raise MissingPackage(
                "filelock", "it is not installed", "Run pip install 'prelabel[pose]'."
            ) from error
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with FileLock(path.with_name(f".{path.name}.lock"), timeout=LOCK_TIMEOUT_S):
                yield
        except OSError as error:
            raise WeightsUnavailable(
                str(path),
                f"its folder cannot be used ({error})",
                "Set MODEL_DIR to a folder with room that prelabel may write to.",
            ) from error


def unpack_or_move(part: Path, path: Path) -> None:
    """Turn a fetched `.zip.part` or `.onnx.part` into the model at `path`; `part` is gone after.

    Raises:
        WeightsUnavailable: It is an archive that cannot be read, or holds no model.
    """
    if Path(part.stem).suffix == ".zip":
        try:
            unpack(part, path)
        finally:
            part.unlink()
    else:
        _put_in_place(part, path)


def unpack(archive: Path, path: Path) -> None:
    """Write the one model inside a `.zip` (OpenMMLab's lie in a folder, as end2end.onnx) to `path`.

    Raises:
        WeightsUnavailable: The archive cannot be read, or holds no `.onnx` or several.
    """
    unpacked = path.with_name(path.name + ".part")
    try:
        with zipfile.ZipFile(archive) as entries:
            models = [name for name in entries.namelist() if name.endswith(".onnx")]
            if len(models) != 1:
                raise _bad_archive(archive, f"it holds {len(models)} .onnx files, not one")
            with entries.open(models[0]) as source, unpacked.open("wb") as target:
                shutil.copyfileobj(source, target)  # compares the entry's checksum at its end
    except (zipfile.BadZipFile, EOFError) as error:
        unpacked.unlink(missing_ok=True)
        raise _bad_archive(archive, f"it is not a whole .zip ({error})") from error
    _put_in_place(unpacked, path)


def recorded_digest(path: Path) -> str:
    """The sha256 that was written down when the model at `path` was put in place, or ""."""
    record = _record_of(path)
    return record.read_text().strip() if record.is_file() else ""


def _require_own(file: Path) -> None:
    if not file.is_file():
        raise WeightsUnavailable(str(file), "there is no such file", "Check the path.")


def _put_in_place(part: Path, path: Path) -> None:
    part.chmod(FILE_MODE)
    record = _record_of(path)
    record.write_text(file_digest(part) + "\n")
    record.chmod(FILE_MODE)
    part.replace(path)


def _record_of(path: Path) -> Path:
    return path.with_name(path.name + ".sha256")


def _bad_archive(archive: Path, cause: str) -> WeightsUnavailable:
    return WeightsUnavailable(str(archive), cause, "Delete it and fetch it again.")
