"""What a task says about where its image is, and which Label Studio that is said in."""

import re
from dataclasses import dataclass, field

import httpx2

from prelabel.errors import SettingsError

MAX_PORT = 65535
SHOWN_LENGTH = 200
CLOUD_SCHEMES = frozenset({"s3", "gs", "azure-blob"})
"""Schemes of the storages of Label Studio 1.23.2 (`url_scheme` in its io_storages)."""

OPEN_QUERY_KEYS = frozenset({"d", "filepath", "fileuri"})
"""Query keys of Label Studio's that name a file; the values of all others may be secrets."""

_FILES = re.compile(
    r"/(?:data|storage-data)/|(?:/api)?/(?:tasks|projects)/\d+/(?:resolve|presign|file-proxy)[/?]",
    re.ASCII,
)
"""Where Label Studio serves files: uploads, local files, those of storages, those with a login."""


@dataclass(frozen=True, slots=True)
class Origin:
    """One Label Studio: where it is, how to log in, and what else it is called.

    Attributes:
        url: Its address, with the sub-path it may live under, for example http://host/ls.
        auth: Adds its token to a request; None where there is none.
        aliases: Other addresses by which tasks name it, for example http://localhost:8080 where
            prelabel itself reaches it as http://label-studio:8080. What is asked of them is asked
            of `url` instead.

    Raises:
        SettingsError: An address is no http(s) address.
    """

    url: str
    auth: httpx2.Auth | None = field(default=None, repr=False)
    aliases: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for address in (self.url, *self.aliases):
            parsed = parse_url(address)
            if parsed is None or parsed.userinfo or parsed.query:
                raise SettingsError(
                    f"LABEL_STUDIO_URL {shown(address)}",
                    "it is no plain http(s) address",
                    "Give scheme, host and, where it has them, port and path: http://host:8080.",
                )

    def at(self, path: str) -> httpx2.URL:
        """The URL of a path (with its query) below this Label Studio."""
        return httpx2.URL(self.url.rstrip("/") + path)

    def path_below(self, url: httpx2.URL) -> str | None:
        """The path and query that a URL has below this Label Studio, or None if it is elsewhere."""
        for address in (self.url, *self.aliases):
            base = httpx2.URL(address)
            if httpx2.Origin(base) == httpx2.Origin(url):
                path = _less_prefix(url.raw_path.decode("ascii"), base)
                if path is not None:
                    return path
        return None

    def file_path(self, url: httpx2.URL) -> str | None:
        """As `path_below`, but None too where Label Studio serves no files.

        Task data is written by many; with the token they could ask any of its pages in the name of
        whoever it belongs to.
        """
        path = self.path_below(url)
        return path if path is not None and _FILES.match(path) else None

    def without_prefix(self, path: str) -> str:
        """A path less the sub-path that Label Studio lives under, where it begins with that."""
        return _less_prefix(path, httpx2.URL(self.url)) or path


@dataclass(frozen=True, slots=True)
class ImageReference:
    """Where an image is, as a task names it, and what may be used to get it.

    Attributes:
        uri: As it stands in the task's data.
        task_id: The task, which Label Studio wants to know to resolve cloud addresses.
        login: User name of the project's task data credentials, for HTTP Basic.
        password: Their password.
        label_studio: The Label Studio that the task is from.
    """

    uri: str
    task_id: int | None = None
    login: str | None = None
    password: str | None = field(default=None, repr=False)
    label_studio: Origin | None = None


def parse_url(text: str) -> httpx2.URL | None:
    """An absolute http(s) URL with a host, or None where the text is none."""
    try:
        url = httpx2.URL(text)
    except (httpx2.InvalidURL, ValueError):
        return None
    fits = url.scheme in ("http", "https") and url.host and (url.port or 0) <= MAX_PORT
    return url if fits else None


def shown(uri: str) -> str:
    """A URI as errors and logs may show it: no credentials, one line, not endless."""
    if uri[:5].lower() == "data:":
        return f"{_printable(uri[:40].partition(',')[0])},… ({len(uri)} characters)"
    address, question, query = uri.partition("#")[0].partition("?")
    address = re.sub(r"//[^/?#]*@", "//", address)
    pairs = [pair.partition("=") for pair in query.split("&")]
    query = "&".join(
        key + equals + (value if key.lower() in OPEN_QUERY_KEYS or not equals else "…")
        for key, equals, value in pairs
    )
    text = _printable(address + question + query)
    return text if len(text) <= SHOWN_LENGTH else text[: SHOWN_LENGTH - 1] + "…"


def _less_prefix(path: str, base: httpx2.URL) -> str | None:
    """A path less the path of a base URL, or None where it is not below that."""
    prefix = base.path.rstrip("/")
    return path[len(prefix) :] if path.startswith(prefix + "/") else None


def _printable(text: str) -> str:
    """The text with whatever a terminal would obey or not show written as an escape."""
    return "".join(
        char if char.isprintable() else char.encode("unicode_escape").decode() for char in text
    )
