"""From what a task says about its image to the image's bytes.

The kinds of address are those of Label Studio 1.23: uploads, local files, cloud storage, plain
web addresses, data: URIs, and file paths where a shared folder holds the file.
"""

from __future__ import annotations

import base64
import os
import re
import time
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import parse_qs, quote, unquote
from urllib.request import url2pathname

import httpx2

from prelabel.errors import ImageMissing, ImageRefused, ImageUnreachable
from prelabel.media.addresses import AddressPolicy, resolve_host
from prelabel.media.download import Declined, Downloader, Target
from prelabel.media.inline import read_data_uri
from prelabel.media.limits import Limits
from prelabel.media.local import read_below
from prelabel.media.references import CLOUD_SCHEMES, ImageReference, Origin, parse_url, shown
from prelabel.media.transport import PinnedTransport, Resolve

_SCHEME = re.compile(r"([a-z][a-z0-9+.-]+):", re.IGNORECASE)
"""Two letters at least: one is a drive of Windows."""


class Fetcher:
    """Fetches the bytes of images, within limits and from allowed addresses only.

    Threads may share one. Nothing is sent through proxies of the environment.

    Args:
        limits: What each image is held to.
        policy: Which addresses may be fetched beside public ones and the task's Label Studio.
        local_root: A folder shared with Label Studio, its LOCAL_FILES_DOCUMENT_ROOT.
        verify_tls: Whether certificates are verified; a path names the CA file or folder.
        resolve: Gives the addresses of a host and port.
    """

    def __init__(
        self,
        limits: Limits,
        policy: AddressPolicy,
        local_root: Path | None = None,
        verify_tls: bool | str = True,
        *,
        resolve: Resolve = resolve_host,
    ) -> None:
        self._limits = limits
        self._local_root = local_root
        self._downloader = Downloader(
            limits, PinnedTransport(policy, verify=verify_tls, resolve=resolve)
        )
        self._uploads_in_storage: dict[str, bool] = {}

    def fetch(self, reference: ImageReference) -> bytes:
        """The bytes of one image.

        Raises:
            TaskError: ImageMissing, ImageRefused, ImageUnreachable, ImageTooLarge or
                ImageUnreadable, with what to do about it.
        """
        uri = reference.uri.strip()
        if not uri:
            raise ImageMissing(
                f"task {reference.task_id}" if reference.task_id is not None else "task",
                "the address of its image is empty",
                "Fill the field that the label config's image tag reads.",
            )
        errand = _Errand(
            uri, reference, shown(uri), time.monotonic() + self._limits.fetch_timeout_s
        )
        try:
            return self._by_kind(errand)
        except Declined as error:
            raise error.about(errand.thing) from error
        except (httpx2.InvalidURL, UnicodeError) as error:
            raise ImageRefused(
                errand.thing, "it is no valid address", "Correct the address in the task's data."
            ) from error

    def close(self) -> None:
        """Close all connections."""
        self._downloader.close()

    def _by_kind(self, errand: _Errand) -> bytes:
        uri = errand.uri
        match = _SCHEME.match(uri)
        scheme = match.group(1).lower() if match else ""
        if scheme == "data":
            return read_data_uri(uri, self._limits, errand.thing)
        if scheme in ("http", "https"):
            return self._from_web(errand)
        if scheme in CLOUD_SCHEMES:
            return self._from_cloud(errand)
        if scheme == "file":
            return self._from_disk(errand, _path_of_file_uri(uri))
        if scheme or uri.startswith("//"):
            raise ImageRefused(
                errand.thing,
                f"addresses that begin with {scheme + ':' if scheme else '//'} are not fetched",
                "Give the image an http(s) address, or upload it to Label Studio.",
            )
        if uri.startswith("upload/"):
            uri = "/" + uri
        if uri.startswith("/"):
            return self._from_root(errand, uri)
        return self._from_disk(errand, uri)

    def _from_web(self, errand: _Errand) -> bytes:
        url = parse_url(errand.uri)
        if url is None:
            raise ImageRefused(
                errand.thing, "it is no valid address", "Correct the address in the task's data."
            )
        reference = errand.reference
        path = reference.label_studio.path_below(url) if reference.label_studio else None
        if path is not None and not url.userinfo:
            return self._from_label_studio(errand, path)
        login = (
            httpx2.BasicAuth(reference.login, reference.password or "") if reference.login else None
        )
        return self._download(errand, Target(url, login=login))

    def _from_cloud(self, errand: _Errand) -> bytes:
        if errand.reference.task_id is None:
            raise ImageUnreachable(
                errand.thing,
                "Label Studio resolves a cloud address for a task only, and this one has no id",
                "Import the task into Label Studio, or give the image an http(s) address.",
            )
        encoded = base64.urlsafe_b64encode(errand.uri.encode("utf-8", "replace")).decode()
        path = f"/tasks/{errand.reference.task_id}/resolve/?fileuri={quote(encoded)}"
        return self._from_label_studio(errand, path)

    def _from_root(self, errand: _Errand, path: str) -> bytes:
        """A path that begins with a slash: of Label Studio's, or into the shared folder."""
        if self._local_root is not None:
            data = read_below(self._local_root, path, self._limits, errand.thing)
            if data is not None:
                return data
        label_studio = errand.reference.label_studio
        if label_studio is not None:
            path = label_studio.without_prefix(path)
        return self._from_label_studio(errand, path)

    def _from_label_studio(self, errand: _Errand, path: str) -> bytes:
        """What Label Studio has at a path below its address.

        Task data is written by many; a path that climbs would let it ask anything of Label Studio
        in the operator's name.
        """
        if ".." in unquote(path.partition("?")[0]).split("/"):
            raise ImageRefused(
                errand.thing, "its path climbs out of where it begins", "Correct the address."
            )
        if path.startswith(("/data/local-files/", "/data/local-files?")):
            data = self._shared(errand, path)
            if data is not None:
                return data
        if path.startswith("/upload/"):
            path = "/data" + path
        label_studio = errand.reference.label_studio
        if label_studio is None:
            raise ImageUnreachable(
                errand.thing,
                "it is in Label Studio, and which one is not known",
                "Set LABEL_STUDIO_URL and LABEL_STUDIO_API_KEY.",
            )
        if path.startswith("/data/upload/"):
            return self._uploaded(errand, label_studio, path)
        return self._download(errand, Target(label_studio.at(path), label_studio))

    def _uploaded(self, errand: _Errand, label_studio: Origin, path: str) -> bytes:
        """An upload, by whichever of its two addresses this Label Studio answers.

        With Django's files on disk that is the path itself, with them in cloud storage another.
        """
        stored = unquote(path.partition("?")[0].removeprefix("/data/"))
        ways = [path, f"/storage-data/uploaded/?filepath={quote(stored, safe='')}"]
        if self._uploads_in_storage.get(label_studio.url):
            ways.reverse()
        declined = []
        for way in ways:
            try:
                data = self._download(errand, Target(label_studio.at(way), label_studio))
            except Declined as error:
                if error.status not in (400, 403, 404, 500):
                    raise
                declined.append(error)
            else:
                self._uploads_in_storage[label_studio.url] = way != path
                return data
        raise declined[0]

    def _shared(self, errand: _Errand, path: str) -> bytes | None:
        """A file of Label Studio's local storage, from the folder shared with it if it is there."""
        names = parse_qs(path.partition("?")[2]).get("d")
        if self._local_root is None or not names:
            return None
        return read_below(self._local_root, names[0].lstrip("/"), self._limits, errand.thing)

    def _from_disk(self, errand: _Errand, path: str) -> bytes:
        if self._local_root is None:
            raise ImageRefused(
                errand.thing,
                "it is a path on a disk, and no folder is shared with prelabel",
                "Set LOCAL_FILES_DOCUMENT_ROOT to the folder that holds the images.",
            )
        data = read_below(self._local_root, path, self._limits, errand.thing)
        if data is None:
            raise ImageRefused(
                errand.thing,
                "it is no file that can be read below LOCAL_FILES_DOCUMENT_ROOT",
                "Move the file there, or correct the path in the task's data.",
            )
        return data

    def _download(self, errand: _Errand, target: Target) -> bytes:
        label_studio = errand.reference.label_studio
        trusted = [httpx2.Origin(label_studio.url)] if label_studio is not None else []
        return self._downloader.get(target, errand.thing, errand.deadline, trusted)


@dataclass(frozen=True, slots=True)
class _Errand:
    """One call of `fetch`: what is asked for, what errors call it, and when to give up."""

    uri: str
    reference: ImageReference
    thing: str
    deadline: float


def _path_of_file_uri(uri: str) -> str:
    """The path in a file: URI; one with a foreign host becomes a name that no folder holds."""
    rest = uri[len("file:") :]
    if rest.startswith("//"):
        host, _, path = rest[2:].partition("/")
        rest = "/" + path if host in ("", "localhost") else f"//{host}/{path}"
    # From Python 3.14 on, url2pathname raises for a host, and drops what follows a ? or #.
    return unquote(rest) if os.name == "posix" else url2pathname(rest)
