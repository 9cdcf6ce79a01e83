"""Pages of other sites: a browser sends the reader's password along with what they make it send."""

from urllib.parse import urlsplit

from starlette.requests import Request

from prelabel.errors import ForeignPage

_OWN = frozenset({"same-origin", "none"})


def refuse_foreign_pages(request: Request) -> None:
    """Let through what our own page sends, and programs, which name no page at all.

    Browsers say where a request comes from in `Sec-Fetch-Site`, which no page can change; over
    plain http from another machine they leave it out, and say it in `Origin`.

    Raises:
        ForeignPage: Another site's page sent it.
    """
    site = request.headers.get("sec-fetch-site")
    origin = request.headers.get("origin")
    if site is not None:
        own = site in _OWN
    else:
        own = origin is None or urlsplit(origin).netloc == request.headers.get("host")
    if not own:
        raise ForeignPage(
            "request",
            "was sent by a page of another site",
            "Use the button on the status page, or name the page's origin in CORS_ORIGINS.",
        )
