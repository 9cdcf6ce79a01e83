"""Check a running deployment from end to end, as an annotator would use it.

    docker-compose up -d
    python test_backend.py

It signs in to Label Studio, makes a project with one picture, attaches the backend, retrieves
predictions, and looks for exactly one of the right version and for the webhook that carries events.
It takes away the project that it made, prints what held and what did not, with the next step, and
ends with 0 or 1. Settings that are no option come from the environment and from .env.

It needs Python 3.9 or newer and nothing else, also nothing of prelabel's: who runs containers has
installed no package. That is why it is one file, and a long one.
"""

from __future__ import annotations

import argparse
import base64
import html
import http.client
import json
import os
import re
import ssl
import struct
import sys
import time
import urllib.error
import urllib.parse
import urllib.request
import uuid
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from http.cookiejar import CookieJar
from pathlib import Path
from typing import Any

IN_COMPOSE = "ml-backend.prelabel.internal:9090"
"""How Label Studio reaches the backend in the networks of the shipped compose files."""

LABEL_CONFIG = """<View><Image name="image" value="$image"/>
<RectangleLabels name="label" toName="image"><Label value="body_distortion"/></RectangleLabels>
</View>"""

PAUSE_S = 2.0
REQUEST_S = 130.0
"""Label Studio waits 100 s for the backend within one request of ours."""

UNAUTHORIZED = 401
_NO_ANSWER = (OSError, http.client.HTTPException)
DEFAULTS = {"LABEL_STUDIO_USERNAME": "demo@example.com", "LABEL_STUDIO_PASSWORD": "prelabel-demo"}
"""The first user of docker-compose.yml where .env names none."""


class Failed(Exception):
    """A check did not hold: what was found, and what to do about it."""

    def __init__(self, finding: str, next_step: str) -> None:
        super().__init__(finding)
        self.next_step = next_step


class Refused(Exception):
    """A server answered with an error."""

    def __init__(self, status: int, text: str) -> None:
        super().__init__(f"answered {status}: {_one_line(text)}")
        self.status = status


class Site:
    """A web server: its address, the cookies it set, and how requests to it are signed."""

    def __init__(self, url: str, tls: ssl.SSLContext) -> None:
        self.url = url.rstrip("/")
        self.headers: dict[str, str] = {}
        self.cookies = CookieJar()
        self._opener = urllib.request.build_opener(
            urllib.request.ProxyHandler({}),  # what is checked is here, not behind a proxy
            urllib.request.HTTPSHandler(context=tls),
            urllib.request.HTTPCookieProcessor(self.cookies),
        )

    def ask(self, method: str, path: str, body: Any = None, *, wait_s: float = REQUEST_S) -> Any:
        """What it answers, JSON read; `body` is sent as JSON, or as it is where it is bytes."""
        sent = body if isinstance(body, bytes) or body is None else json.dumps(body).encode()
        headers = {"Content-Type": "application/json", **self.headers}
        text = self.fetch(method, path, sent, headers, wait_s)
        try:
            return json.loads(text) if text.strip() else None
        except ValueError as error:
            raise Refused(200, f"no JSON but {text[:80]}") from error

    def fetch(
        self, method: str, path: str, body: bytes | None, headers: dict[str, str], wait_s: float
    ) -> str:
        """The text of an answer.

        Raises:
            Refused: It is an error.
            OSError, http.client.HTTPException: There is none.
        """
        request = urllib.request.Request(  # noqa: S310 - the address is the user's own
            self.url + path, data=body, headers=headers, method=method
        )
        for cookie in self.cookies:
            if cookie.name == "csrftoken":
                request.add_header("X-CSRFToken", cookie.value or "")
                request.add_header("Referer", self.url + "/")
        try:
            with self._opener.open(request, timeout=wait_s) as answer:
                return str(answer.read().decode("utf-8", "replace"))
        except urllib.error.HTTPError as error:
            with error:
                raise Refused(error.code, error.read().decode("utf-8", "replace")) from error


@dataclass
class Deployment:
    """What is looked at, and what the checks found out for each other."""

    studio: Site
    backend: Site
    options: argparse.Namespace
    project: int = 0
    task: int = 0
    attached_url: str = ""

    def stored(self) -> list[dict[str, Any]]:
        """The predictions that Label Studio has for the task."""
        found: list[dict[str, Any]] = self.studio.ask("GET", f"/api/predictions/?task={self.task}")
        return found

    def retrieve(self) -> None:
        """What the button Retrieve Predictions does."""
        if self.options.token:
            _sign_in_by_token(self.studio, self.options.token)  # what was had for it lasts 5 min
        action = f"/api/dm/actions?id=retrieve_tasks_predictions&project={self.project}"
        self.studio.ask("POST", action, {"selectedItems": {"all": True, "excluded": []}})

    def version(self) -> str:
        """The version by which the backend says that it answers this project."""
        answer = self.backend.ask("POST", "/setup", {"project": "0", "schema": LABEL_CONFIG})
        return str(answer["model_version"])


def label_studio_answers(it: Deployment) -> str:
    """Label Studio is there."""
    found = _once_it_answers(it.studio, "/api/version", it.options.timeout)
    return f"{found.get('release', 'unknown release')} at {it.studio.url}"


def backend_answers(it: Deployment) -> str:
    """The backend is there, and is prelabel."""
    health = _once_it_answers(it.backend, "/health", it.options.timeout)
    if "model_loaded" not in health:
        raise Failed(f"{it.backend.url} is another program", "Name the backend by --backend-url.")
    parts = health.get("predictors", {}).values()
    reasons = [str(part["reason"]) for part in parts if part.get("reason")]
    return "; ".join([f"at {it.backend.url}", *reasons])


def sign_in(it: Deployment) -> str:
    """Label Studio lets us in."""
    options = it.options
    if options.token:
        _sign_in_by_token(it.studio, options.token)
    else:
        _sign_in_by_password(it.studio, options.username, options.password)
    who = it.studio.ask("GET", "/api/current-user/whoami")
    return f"as {who.get('email') or who.get('username')}"


def make_project(it: Deployment) -> str:
    """A project can be made and a picture uploaded."""
    title = f"prelabel check {uuid.uuid4().hex[:8]}"
    made = it.studio.ask("POST", "/api/projects/", {"title": title, "label_config": LABEL_CONFIG})
    it.project = int(made["id"])
    boundary = uuid.uuid4().hex
    body = (
        f'--{boundary}\r\nContent-Disposition: form-data; name="file"; filename="check.png"\r\n'
        "Content-Type: image/png\r\n\r\n"
    ).encode()
    body += picture() + f"\r\n--{boundary}--\r\n".encode()
    headers = {**it.studio.headers, "Content-Type": f"multipart/form-data; boundary={boundary}"}
    it.studio.fetch("POST", f"/api/projects/{it.project}/import", body, headers, REQUEST_S)
    listed = it.studio.ask("GET", f"/api/tasks?project={it.project}&fields=task_only")
    if not listed["tasks"]:
        raise Failed("the picture became no task", "Look into Label Studio's log.")
    it.task = int(listed["tasks"][0]["id"])
    return f"project {it.project}, task {it.task}"


def attach(it: Deployment) -> str:
    """Label Studio reaches the backend."""
    found, (user, secret) = [], it.options.backend_login
    for url in it.options.attach_url:
        body = {"project": it.project, "url": url, "title": "prelabel"}
        if user:
            body |= {
                "auth_method": "BASIC_AUTH",
                "basic_auth_user": user,
                "basic_auth_pass": secret,
            }
        try:
            backend = it.studio.ask("POST", "/api/ml/", body)
        except Refused as refused:
            found.append(f"{_without_secrets(url)} {refused}")
            _detach_all(it)
            continue
        if backend.get("state") == "CO":
            it.attached_url = url
            return f"at {_without_secrets(url)}"
        found.append(f"{_without_secrets(url)}: {_one_line(str(backend.get('error_message')))}")
        _detach_all(it)
    raise Failed(
        "; ".join(found),
        "Name the address by which Label Studio sees the backend with --attach-url. Where it says "
        "'reserved network address', Label Studio needs ML_BLOCK_LOCAL_IP=false and "
        "SSRF_PROTECTION_ENABLED=false, or what docker-compose.yml sets instead.",
    )


def webhook(it: Deployment) -> str:
    """Events of the project go to the backend."""
    hooks = it.studio.ask("GET", f"/api/webhooks/?project={it.project}")
    if not any(hook["url"].rstrip("/") == f"{it.attached_url}/webhook" for hook in hooks):
        raise Failed(
            f"Label Studio made no webhook for {_without_secrets(it.attached_url)}",
            "Attach the backend under a name with a dot, such as ml-backend.prelabel.internal.",
        )
    return "annotations are told to the backend"


def prediction(it: Deployment) -> str:
    """Retrieving gives one prediction, of the version that answers."""
    begin = time.monotonic()
    it.retrieve()
    while not (found := it.stored()):
        if time.monotonic() - begin > it.options.timeout:
            raise Failed(f"none after {it.options.timeout:.0f} s, {_reason(it)}", _LOOK)
        time.sleep(PAUSE_S)  # the model may still be loading; what was put off is pushed, or asked
        it.retrieve()
    expected = it.version()
    if len(found) != 1:
        raise Failed(f"{len(found)} instead of one", _LOOK)
    if found[0]["model_version"] != expected:
        raise Failed(f"its version is {found[0]['model_version']}, not {expected}", _LOOK)
    count = len(found[0]["result"])
    return f"{expected}, {count} regions, after {time.monotonic() - begin:.1f} s"


def second_retrieve(it: Deployment) -> str:
    """Retrieving again adds none."""
    it.retrieve()
    count = len(it.stored())
    if count != 1:
        raise Failed(f"{count} predictions after the second retrieve", _LOOK)
    return "still one prediction"


def take_away(it: Deployment) -> str:
    """The project that was made can be deleted."""
    it.studio.ask("DELETE", f"/api/projects/{it.project}/")
    return f"project {it.project}"


_LOOK = "Open the backend's page at / and its log (`make logs`): both say what became of the task."
_CHECKS: list[tuple[str, Callable[[Deployment], str]]] = [
    ("Label Studio answers", label_studio_answers),
    ("backend answers", backend_answers),
    ("sign-in", sign_in),
    ("project and upload", make_project),
    ("backend attached", attach),
    ("events", webhook),
    ("prediction", prediction),
    ("second retrieve", second_retrieve),
]
_GOES_ON = {"events"}
"""Checks that others do not need."""


def run(name: str, check: Callable[[Deployment], str], it: Deployment) -> bool:
    """Make one check and print what it said; whether it held."""
    try:
        say(name, "ok", check(it))
    except Failed as failed:
        say(name, "FAILED", str(failed), failed.next_step)
    except (*_NO_ANSWER, Refused, KeyError, TypeError, ValueError) as error:
        say(name, "FAILED", _one_line(str(error) or repr(error)), _LOOK)
    else:
        return True
    return False


def say(name: str, verdict: str, finding: str, next_step: str = "") -> None:
    """Print a row of the table."""
    print(f"{name:22}{verdict:8}{finding}", flush=True)  # noqa: T201 - a script prints
    if next_step:
        print(f"{'':30}{next_step}", flush=True)  # noqa: T201


def main(arguments: list[str] | None = None) -> int:
    """Make all checks; the exit code."""
    options = _options(arguments)
    tls = ssl.create_default_context()
    if options.ca_file:
        tls.load_verify_locations(options.ca_file)  # beside the public ones
    it = Deployment(Site(options.url, tls), Site(options.backend_url, tls), options)
    if options.backend_login[0]:
        login = base64.b64encode(":".join(options.backend_login).encode()).decode()
        it.backend.headers["Authorization"] = f"Basic {login}"
    failed, goes_on = 0, True
    try:
        for name, check in _CHECKS:
            if not goes_on:
                say(name, "skipped", "needs what failed above")
            elif not run(name, check, it):
                failed += 1
                goes_on = name in _GOES_ON
    finally:
        if it.project and options.keep:
            say("project kept", "ok", f"{it.studio.url}/projects/{it.project}/data")
        elif it.project:
            failed += not run("project taken away", take_away, it)
    say("in all", "FAILED" if failed else "ok", f"{failed} checks failed")
    return 1 if failed else 0


def picture() -> bytes:
    """A PNG of 320x240 px: a soft background with a bright blotch."""
    rows = bytearray()
    for y in range(240):
        rows.append(0)
        for x in range(320):
            near = max(0, 120 - abs(x - 200) - abs(y - 120))
            rows += bytes((40 + x // 4 + near, 50 + y // 3, 90))
    header = struct.pack(">IIBBBBB", 320, 240, 8, 2, 0, 0, 0)
    drawn = b"\x89PNG\r\n\x1a\n"
    for kind, data in ((b"IHDR", header), (b"IDAT", zlib.compress(bytes(rows))), (b"IEND", b"")):
        checksum = struct.pack(">I", zlib.crc32(kind + data))
        drawn += struct.pack(">I", len(data)) + kind + data + checksum
    return drawn


def _sign_in_by_token(studio: Site, token: str) -> None:
    if token.count(".") != 2:  # noqa: PLR2004 - a JWT has three parts; legacy tokens have one
        studio.headers["Authorization"] = f"Token {token}"
        return
    try:
        fresh = studio.ask("POST", "/api/token/refresh/", {"refresh": token})
    except Refused as refused:
        raise Failed(
            f"the token was refused: {refused}", "Make another under Account & Settings."
        ) from refused
    studio.headers["Authorization"] = f"Bearer {fresh['access']}"


def _sign_in_by_password(studio: Site, username: str, password: str) -> None:
    page = studio.fetch("GET", "/user/login/", None, {}, REQUEST_S)
    field_value = re.search(r'name="csrfmiddlewaretoken"\s+value="([^"]+)"', page)
    form = {"email": username, "password": password, "persist_session": "on"}
    form["csrfmiddlewaretoken"] = html.unescape(field_value[1]) if field_value else ""
    headers = {"Content-Type": "application/x-www-form-urlencoded"}
    body = urllib.parse.urlencode(form).encode()
    studio.fetch("POST", "/user/login/", body, headers, REQUEST_S)
    try:
        studio.ask("GET", "/api/current-user/whoami")
    except Refused as refused:
        raise Failed(
            f"{username} and the password do not match",
            "Give --username and --password. A first user is made at the first start only: "
            "to begin anew, `docker-compose down --volumes` takes all data away.",
        ) from refused


def _once_it_answers(site: Site, path: str, timeout_s: float) -> dict[str, Any]:
    """What a server tells, once it does."""
    begin, told = time.monotonic(), False
    while True:
        try:
            answer = site.ask("GET", path, wait_s=10)
        except Refused as refused:
            if refused.status == UNAUTHORIZED:
                raise Failed(
                    f"{site.url} wants a user and a password",
                    "Set BASIC_AUTH_USER and BASIC_AUTH_PASS as the backend has them.",
                ) from refused
            why = str(refused)
        except _NO_ANSWER as error:
            why = str(getattr(error, "reason", error)) or repr(error)
        else:
            return answer if isinstance(answer, dict) else {}
        if time.monotonic() - begin > timeout_s or "CERTIFICATE_VERIFY_FAILED" in why:
            raise Failed(
                f"{site.url}{path}: {_one_line(why)}",
                "Start it (`docker-compose up -d`), or name its address: --url, --backend-url; "
                "where a private authority made its certificate, --ca-file.",
            )
        if not told:
            say("", "", f"waiting for {site.url}, up to {timeout_s:.0f} s: {_one_line(why)}")
            told = True
        time.sleep(PAUSE_S)


def _reason(it: Deployment) -> str:
    """Why the backend has no prediction, in its own words."""
    try:
        projects = it.backend.ask("GET", "/status")["projects"]
    except (*_NO_ANSWER, Refused, KeyError, TypeError):
        return "and the backend does not say why"
    for project in projects:
        if project["project"] == str(it.project) and project["last_failures"]:
            return str(project["last_failures"][0]["reason"])
    return "and the backend was not asked, or is still at work"


def _detach_all(it: Deployment) -> None:
    """Take away what a refused attempt may have left: Label Studio asks a project's first only."""
    for backend in it.studio.ask("GET", f"/api/ml?project={it.project}"):
        it.studio.ask("DELETE", f"/api/ml/{backend['id']}")


def _one_line(text: str) -> str:
    return " ".join(text.split())[:300]


def _without_secrets(url: str) -> str:
    """The address less its path, which may be SECRET_PATH, and less a password in it."""
    parts = urllib.parse.urlsplit(url)
    return f"{parts.scheme}://{parts.hostname}" + (f":{parts.port}" if parts.port else "")


def _options(arguments: list[str] | None) -> argparse.Namespace:
    known = _settings()
    parser = argparse.ArgumentParser(description="Check a running deployment from end to end.")
    port, studio_port = known.get("PORT", "9090"), known.get("LABEL_STUDIO_PORT", "8080")
    parser.add_argument("--url", help="Label Studio, as seen from here")
    parser.add_argument("--backend-url", help="the backend, as seen from here")
    parser.add_argument(
        "--attach-url", action="append", help="the backend, as Label Studio sees it"
    )
    parser.add_argument("--username", help="login of Label Studio (LABEL_STUDIO_USERNAME)")
    parser.add_argument("--password", help="its password (LABEL_STUDIO_PASSWORD)")
    parser.add_argument("--token", help="a token instead of a login (LABEL_STUDIO_API_KEY)")
    parser.add_argument("--ca-file", help="authority to trust, where a private one is in use")
    parser.add_argument("--timeout", type=float, default=900.0, help="seconds to wait [900]")
    parser.add_argument("--keep", action="store_true", help="leave the project there")
    options = parser.parse_args(arguments)
    public = known.get("PUBLIC_HOST")  # docker-compose.prod.yml is what runs
    options.url = (
        options.url
        or known.get("LABEL_STUDIO_URL", "")
        or (f"https://{public}" if public else f"http://localhost:{studio_port}")
    )
    options.backend_url = options.backend_url or f"http{'s' * bool(public)}://localhost:{port}"
    names = ("LABEL_STUDIO_API_KEY", "LABEL_STUDIO_API_TOKEN", "LABEL_STUDIO_ACCESS_TOKEN")
    if not (options.username or options.password):
        options.token = options.token or next((known[one] for one in names if known.get(one)), "")
    options.username = options.username or known.get("LABEL_STUDIO_USERNAME", "")
    options.password = options.password or known.get("LABEL_STUDIO_PASSWORD", "")
    options.backend_login = known.get("BASIC_AUTH_USER", ""), known.get("BASIC_AUTH_PASS", "")
    secret = known.get("SECRET_PATH", "").strip("/")
    scheme = urllib.parse.urlsplit(options.backend_url).scheme
    seen = options.attach_url or [f"{scheme}://{IN_COMPOSE}", options.backend_url]
    ending = f"/{secret}" if secret and not options.attach_url else ""
    options.attach_url = [url.rstrip("/") + ending for url in seen]
    return options


def _settings() -> dict[str, str]:
    """What the environment and .env say; what is set in the environment goes first."""
    path, written = Path(__file__).with_name(".env"), dict(DEFAULTS)
    lines = path.read_text("utf-8").splitlines() if path.is_file() else []
    for line in lines:
        name, equals, value = line.strip().partition("=")
        if equals and value.strip() and not name.startswith("#"):
            value = value.strip() if value.strip()[:1] in "\"'" else value.split(" #")[0].strip()
            written[name.removeprefix("export ").strip()] = value.strip("\"'")
    return {**written, **{name: value for name, value in os.environ.items() if value}}


if __name__ == "__main__":
    sys.exit(main())
