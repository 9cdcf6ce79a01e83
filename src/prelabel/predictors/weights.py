"""Model files: found in a folder, or fetched into it once, whole, by one process at a time."""

import hashlib
import os
import shutil
import zipfile
import zlib
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
from prelabel.predictors.onnx_file import is_whole_model

log = structlog.get_logger(__name__)

LOCK_TIMEOUT_S = 1800.0
OF_MACOS = "__MACOSX/"  # what macOS adds to each entry of the archives that it makes
FILE_MODE = 0o644  # whoever else uses a shared folder may read it


@dataclass(frozen=True, slots=True)
class WeightsFile:
    """A model file that can be fetched.

    Attributes:
        urls: Where it can be had, first choice first: an `.onnx`, or a `.zip` that holds one.
        sha256: Digest of the fetched file where it is known, else "": one that is here and came
            with another digest counts as missing.
        is_own: Whether it is one of the user's own: its name says nothing, and where there is no
            digest, one of that name that came from another address counts as missing.
    """

    urls: tuple[str, ...]
    sha256: str = ""
    is_own: bool = False

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
        elif not self.is_here(file) and not self._archive(file):
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
        if not self.is_here(file):
            with self._alone_with(path):
                if not self.is_here(file):
                    self._make(file, path)
        return path

    def is_here(self, file: ModelFile) -> bool:
        """Whether a model is in the folder, or, of the user's own, where it is said to be.

        Raises:
            WeightsUnavailable: One of the user's own is not, or it may not be looked for.
        """
        if isinstance(file, Path):
            _require_own(file)
            return True
        path = self.path(file)
        return _is_file(path) and not _other(file, path)

    def _own(self, file: Path) -> Path:
        _require_own(file)
        if file.suffix.lower() != ".zip":
            return file
        path = self._folder / f"{file.stem}.onnx"
        # Whoever may only read the folder takes what somebody else has unpacked.
        if not _is_of_archive(path, file):
            with self._alone_with(path):
                if not _is_of_archive(path, file):
                    unpack(file, path)
        return path

    def _archive(self, file: WeightsFile) -> Path | None:
        """The archive that somebody who fetched it by hand has put into the folder."""
        archive = self._folder / file.download_name
        return archive if archive != self.path(file) and _is_file(archive) else None

    def _make(self, file: WeightsFile, path: Path) -> None:
        archive = self._archive(file)
        if archive:
            if file.sha256 and file_digest(archive) != file.sha256:
                raise _bad_archive(archive, f"its sha256 is not {file.sha256}")
            unpack(archive, path)
            return
        self._require_downloads(file)
        part = self._folder / f"{file.download_name}.part"
        causes = []
        for url in file.urls:
            log.info("download_started", url=shown(url), folder=str(self._folder))
            try:
                fetch(url, part, file.sha256)
                unpack_or_move(part, path, _mark_of(url))
            except WeightsUnavailable as error:
                log.warning("download_failed", url=shown(url), cause=error.cause)
                causes.append(f"{urlsplit(url).hostname}: {error.cause}")
            else:
                log.info("download_finished", file=str(path), bytes=path.stat().st_size)
                return
        raise self._unavailable(file, f"the download failed ({'; '.join(causes)})")

    def _require_downloads(self, file: WeightsFile) -> None:
        if not self._allow_downloads:
            path = self.path(file)
            cause = _other(file, path) if _is_file(path) else "it is not there"
            raise self._unavailable(file, f"{cause}, and ALLOW_DOWNLOADS is false")

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
            from filelock import FileLock, Timeout  # noqa: PLC0415 - comes with the extra "pose"
        except ImportError as error:
            raise MissingPackage(
                "filelock", "it is not installed", "Run pip install 'prelabel[pose]'."
            ) from error
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            lock = FileLock(path.with_name(f".{path.name}.lock"), timeout=LOCK_TIMEOUT_S)
            try:
                held = lock.acquire(timeout=0)
            except Timeout:
                log.info("waiting_for_another_process", file=str(path))
                held = lock.acquire()
            with held:
                yield
        except Timeout as error:
            raise WeightsUnavailable(
                str(path),
                f"another process has been fetching it for {LOCK_TIMEOUT_S / 60:.0f} minutes",
                "See in its log what it waits for, or end it.",
            ) from error
        except OSError as error:
            raise WeightsUnavailable(
                str(path),
                f"its folder cannot be used ({error})",
                "Set MODEL_DIR to a folder with room that prelabel may write to.",
            ) from error


def unpack_or_move(part: Path, path: Path, came_from: str = "") -> None:
    """Turn a fetched `.zip.part` or `.onnx.part` into the model at `path`; `part` is gone after.

    Args:
        part: What was fetched.
        path: Where the model is to be.
        came_from: What is written down of the address.

    Raises:
        WeightsUnavailable: It is an archive that cannot be read, or holds no model; or no model.
    """
    try:
        if Path(part.stem).suffix.lower() == ".zip":
            unpack(part, path, came_from)
        elif is_whole_model(part):
            _put_in_place(part, path, came_from=came_from)
        else:
            raise WeightsUnavailable(
                str(path), "what came is no whole ONNX model", "Check the address, and try again."
            )
    finally:
        part.unlink(missing_ok=True)


def unpack(archive: Path, path: Path, came_from: str = "") -> None:
    """Write the one model inside a `.zip` (OpenMMLab's lie in a folder, as end2end.onnx) to `path`.

    Raises:
        WeightsUnavailable: The archive cannot be read, or holds no `.onnx` or several.
    """
    unpacked = path.with_name(path.name + ".part")
    try:
        with zipfile.ZipFile(archive) as entries:
            model = _the_model_in(entries, archive)
            with entries.open(model) as source, unpacked.open("wb") as target:
                shutil.copyfileobj(source, target)  # compares the entry's checksum at its end
        _put_in_place(unpacked, path, file_digest(archive), came_from)
    except _BAD_ARCHIVE as error:
        raise _bad_archive(archive, f"it is not a whole .zip ({error})") from error
    finally:
        unpacked.unlink(missing_ok=True)


_BAD_ARCHIVE = (zipfile.BadZipFile, zlib.error, EOFError, RuntimeError)
"""What reading an archive raises that is cut, damaged, encrypted or packed in an unusual way."""


def _the_model_in(entries: zipfile.ZipFile, archive: Path) -> str:
    models = [
        name
        for name in entries.namelist()
        if name.lower().endswith(".onnx") and not name.startswith(OF_MACOS)
    ]
    if len(models) != 1:
        raise _bad_archive(archive, f"it holds {len(models)} .onnx files, not one")
    return models[0]


def recorded_digest(path: Path) -> str:
    """The sha256 that was written down when the model at `path` was put in place, or ""."""
    return _record(path)[0]


def _fetched_digest(path: Path) -> str:
    """The sha256 of the archive that the model at `path` came in, or its own, or ""."""
    own, of_archive, _ = _record(path)
    return of_archive or own


def _record(path: Path) -> tuple[str, str, str]:
    """Of the model at `path`: its sha256, that of its archive, the mark of its address; or ""."""
    try:
        lines = _record_of(path).read_text().splitlines()
    except OSError:
        lines = []
    own, of_archive, mark, *_ = [*lines, "", "", ""]
    return own, of_archive, mark


def _other(file: WeightsFile, path: Path) -> str:
    """Why the model at `path` is another one of the same name, as far as that is known; or ""."""
    fetched, mark = _fetched_digest(path), _record(path)[2]
    if file.sha256:
        is_other = fetched and fetched != file.sha256
        return f"the one there did not come with sha256 {file.sha256}" if is_other else ""
    if file.is_own and mark and mark not in map(_mark_of, file.urls):
        return "the one there came from another address"
    return ""


def _mark_of(url: str) -> str:
    """What is written down of an address, which may hold a secret."""
    return hashlib.sha256(url.encode()).hexdigest()


def _is_of_archive(path: Path, archive: Path) -> bool:
    """Whether the model at `path` was unpacked from an archive as it is now."""
    return _is_file(path) and _fetched_digest(path) == file_digest(archive)


_LET_READ = "Let the user that prelabel runs as read it."


def _is_file(path: Path) -> bool:
    """As `Path.is_file`, of a folder that may be looked into.

    Raises:
        WeightsUnavailable: It may not.
    """
    try:
        return path.is_file()
    except PermissionError as error:
        raise WeightsUnavailable(str(path), "its folder may not be read", _LET_READ) from error


def _require_own(file: Path) -> None:
    if not _is_file(file):
        raise WeightsUnavailable(str(file), "there is no such file", "Check the path.")
    if not os.access(file, os.R_OK):
        raise WeightsUnavailable(str(file), "it may not be read", _LET_READ)


def _put_in_place(part: Path, path: Path, archive_digest: str = "", came_from: str = "") -> None:
    part.chmod(FILE_MODE)
    record, digest = _record_of(path), file_digest(part)
    record.unlink(missing_ok=True)  # so that it never speaks of another file
    part.replace(path)
    record.write_text(f"{digest}\n{archive_digest}\n{came_from}\n")
    record.chmod(FILE_MODE)


def _record_of(path: Path) -> Path:
    return path.with_name(path.name + ".sha256")


def _bad_archive(archive: Path, cause: str) -> WeightsUnavailable:
    return WeightsUnavailable(str(archive), cause, "Delete it and fetch it again.")
