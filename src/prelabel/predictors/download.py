"""One file over HTTP: whole or not at all, and from where it broke off."""

import hashlib
from functools import lru_cache
from pathlib import Path

import httpx2
import structlog

from prelabel.errors import WeightsUnavailable
from prelabel.media.references import shown

log = structlog.get_logger(__name__)

ATTEMPTS = 3
TIMEOUT = httpx2.Timeout(30.0, connect=10.0)
REFUSAL_TIMEOUT_S = 5.0
LOG_EVERY_BYTES = 50 << 20
PARTIAL, RANGE_REFUSED, FIRST_ERROR = 206, 416, 400


def fetch(url: str, part: Path, sha256: str) -> None:
    """Fetch `url` into `part`, going on from what an earlier attempt has left there.

    Args:
        url: An http(s) address; redirects are followed.
        part: The file to fill. After a broken connection it stays, to be gone on with.
        sha256: Digest that the whole file must have, or "".

    Raises:
        WeightsUnavailable: The server refuses, the connection breaks again and again, or the
            digest is wrong.
    """
    for attempt in range(1, ATTEMPTS + 1):
        try:
            _go_on(url, part)
            break
        except httpx2.RequestError as error:
            cause = str(error) or type(error).__name__
            log.warning("download_broke_off", url=shown(url), attempt=attempt, cause=cause)
            if attempt == ATTEMPTS:
                raise _unavailable(url, cause) from error
    _validator_path(part).unlink(missing_ok=True)
    if sha256 and (digest := file_digest(part)) != sha256:
        part.unlink()
        raise _unavailable(url, f"its sha256 is {digest}, not {sha256}")


def refusal(url: str) -> str:
    """Why nothing can be fetched from an address just now; "" where it can."""
    try:
        # Not HEAD, which hosts refuse whose addresses are signed for GET. Nothing of it is read.
        with httpx2.stream(
            "GET",
            url,
            headers={"Range": "bytes=0-0"},
            follow_redirects=True,
            timeout=REFUSAL_TIMEOUT_S,
        ) as answer:
            status = answer.status_code
    except httpx2.RequestError as error:
        return f"{httpx2.URL(url).host}: {str(error) or type(error).__name__}"
    return f"{httpx2.URL(url).host} answered {status}" if status >= FIRST_ERROR else ""


def file_digest(path: Path) -> str:
    """The sha256 of a file, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def content_mark(path: Path) -> str:
    """What changes with the content of a file, or of the files in a folder; "" where none is."""
    try:
        files = [one for one in path.iterdir() if one.is_file()] if path.is_dir() else [path]
        stats = [(one, one.stat()) for one in sorted(files)]
        return "".join(
            f"{one.name} {_digest_of(one, stat.st_mtime_ns, stat.st_size)}\n" for one, stat in stats
        )
    except OSError:
        return ""


@lru_cache
def _digest_of(path: Path, _mtime_ns: int, _size: int) -> str:
    return file_digest(path)


def _go_on(url: str, part: Path) -> None:
    """Ask for what is missing of `part` and append it; start anew where the file has changed."""
    validator = _validator_path(part)
    have = part.stat().st_size if part.is_file() and validator.is_file() else 0
    headers = {"Accept-Encoding": "identity"}  # so that Content-Length counts the file's bytes
    if have:
        headers |= {"Range": f"bytes={have}-", "If-Range": validator.read_text()}
    with httpx2.stream(
        "GET", url, headers=headers, follow_redirects=True, timeout=TIMEOUT
    ) as answer:
        if answer.status_code == RANGE_REFUSED:
            part.unlink()
            raise httpx2.RemoteProtocolError("the server cannot go on with the part that is here")
        if answer.status_code >= FIRST_ERROR:
            raise _unavailable(url, f"the server answered {answer.status_code}")
        if "html" in answer.headers.get("Content-Type", ""):
            raise _unavailable(url, "the server answered with a web page")
        resumed = answer.status_code == PARTIAL
        if resumed and not answer.headers.get("Content-Range", "").startswith(f"bytes {have}-"):
            raise _unavailable(url, "the server sent another part than was asked for")
        _remember_validator(answer, validator)
        _write(answer, part, have if resumed else 0)


def _write(answer: httpx2.Response, part: Path, have: int) -> None:
    length = answer.headers.get("Content-Length")
    total = have + int(length) if length else None
    done, logged = have, have
    with part.open("ab" if have else "wb") as file:
        # As it comes: what is gathered into chunks is lost at a break.
        for chunk in answer.iter_raw():
            file.write(chunk)
            done += len(chunk)
            if done - logged >= LOG_EVERY_BYTES:
                log.info(
                    "downloading", file=part.stem, done_mb=done >> 20, of_mb=(total or 0) >> 20
                )
                logged = done
    if total is not None and done != total:
        raise httpx2.RemoteProtocolError(f"{done} of {total} bytes came")


def _validator_path(part: Path) -> Path:
    """Where the mark (ETag or date) of the file that `part` belongs to is written down."""
    return part.with_name(part.name + ".validator")


def _remember_validator(answer: httpx2.Response, path: Path) -> None:
    etag = answer.headers.get("ETag", "")
    mark = answer.headers.get("Last-Modified", "") if etag.startswith("W/") else etag
    if mark:
        path.write_text(mark)
    else:
        path.unlink(missing_ok=True)


def _unavailable(url: str, cause: str) -> WeightsUnavailable:
    return WeightsUnavailable(url, cause, "Try again, or fetch it by hand into MODEL_DIR.")
