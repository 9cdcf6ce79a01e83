"""What the image of a task is called in a dataset."""

import mimetypes
import re
from pathlib import PurePosixPath
from urllib.parse import parse_qs, unquote, urlsplit

_UPLOAD = re.compile(r"(^|/)(data/)?upload/\d+/")
_LOCAL_FILES = "/data/local-files/"
_MOST_BYTES_OF_A_STEP = 240  # disks take 255, and a label file has another suffix
_MOST_BYTES = 1000
_LONGEST_SUFFIX = 8
_NO_SIGN_OF_A_NAME = re.compile("[\x00-\x1f\ud800-\udfff]")  # no disk takes them all


class Names:
    """Gives each image of a dataset a relative path of its own."""

    def __init__(self) -> None:
        self._files: set[str] = set()
        self._stems: set[str] = set()
        self._folders: set[str] = set()

    def name(self, uri: str, owner: str) -> str:
        """The path that an image address suggests, below a folder `owner` where it is taken.

        Where it suggests none, or one that is too long for a disk, the owner is the name.
        Two paths that differ in their suffix or in case only count as the same: YOLO's label
        files have the image's path with a suffix of their own, and some disks ignore case. A
        path that is another's folder is taken, too.

        Args:
            uri: The address as it stands in the task's data.
            owner: The image's task and page in words, for example "task-7".
        """
        path = _suggested(uri) or PurePosixPath(owner + _suffix_of_data(uri))
        if _is_too_long(path):
            suffix = path.suffix if len(path.suffix) <= _LONGEST_SUFFIX else ""
            path = PurePosixPath(owner + suffix)
        while self._is_taken(path):
            path = owner / path
        self._files.add(_key(path))
        self._stems.add(_key(path.with_suffix("")))
        self._folders.update(map(_key, path.parents))
        return str(path)

    def _is_taken(self, path: PurePosixPath) -> bool:
        return (
            _key(path.with_suffix("")) in self._stems
            or _key(path) in self._folders
            or not self._files.isdisjoint(map(_key, path.parents))
        )


def _key(path: PurePosixPath) -> str:
    return str(path).casefold()


def _suggested(uri: str) -> PurePosixPath | None:
    """The path within an upload folder, a bucket, a site or the local files; None for none."""
    scheme, separator, rest = uri.partition("://")
    if uri[:5].lower() == "data:":
        return None
    if _LOCAL_FILES in uri:
        path = parse_qs(urlsplit(uri).query).get("d", [""])[0]
    elif not separator:
        path = unquote(uri)
    elif scheme.lower() in ("http", "https"):
        path = unquote(urlsplit(uri).path)
    else:
        path = rest.partition("/")[2]
    upload = _UPLOAD.search(path)
    path = _NO_SIGN_OF_A_NAME.sub("_", path[upload.end() :] if upload else path)
    steps = path.replace("\\", "/").split("/")
    # What is written below the dataset's folder must stay there.
    kept = [step for step in steps if step not in ("", ".", "..") and not step.endswith(":")]
    return PurePosixPath(*kept) if kept else None


def _suffix_of_data(uri: str) -> str:
    media_type = re.split("[;,]", uri[5:], maxsplit=1)[0].lower()
    return mimetypes.guess_extension(media_type) or ""


def _is_too_long(path: PurePosixPath) -> bool:
    steps = (len(step.encode()) for step in path.parts)
    return len(str(path).encode()) > _MOST_BYTES or max(steps) > _MOST_BYTES_OF_A_STEP
