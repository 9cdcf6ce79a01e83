"""A Label Studio with a memory, on a port of its own: what 1.23.2 was seen to answer."""

import base64
import json
import threading
import time
import uuid
from dataclasses import dataclass, field
from email.parser import BytesParser
from email.policy import HTTP
from http.cookies import SimpleCookie
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, parse_qsl, urlsplit

import pytest

from prelabel.labelstudio_api.client import LabelStudio

USER, PASSWORD = "a@example.com", "correct horse"
LEGACY = "0123456789abcdef0123456789abcdef01234567"


def web_token(kind, lifetime_s=300.0, *, now=None):
    issued = time.time() if now is None else now
    claims = {
        "token_type": kind,
        "iat": issued,
        "exp": issued + lifetime_s,
        "jti": uuid.uuid4().hex,
    }
    payload = base64.urlsafe_b64encode(json.dumps(claims).encode()).decode().rstrip("=")
    return f"eyJhbGciOiJIUzI1NiJ9.{payload}.c2lnbmVk"


@dataclass
class FakeLabelStudio:
    """State and switches; the handler below reads and writes them."""

    sub_path: str = ""
    personal_token: str = field(default_factory=lambda: web_token("refresh", 1e9))
    has_token: bool = True
    unknown: set = field(default_factory=set)  # (method, path) that an older release lacks
    legacy_allowed: bool = True
    access_lifetime_s: float = 300.0
    access_tokens: set = field(default_factory=set)
    sessions: set = field(default_factory=set)
    exchanges: int = 0
    logins: int = 0
    has_login_form: bool = True
    max_page_size: int = 1000
    projects: dict = field(default_factory=dict)
    tasks: dict = field(default_factory=dict)
    backends: dict = field(default_factory=dict)
    webhooks: dict = field(default_factory=dict)
    running_backends: dict = field(default_factory=dict)  # address -> (user, password) or None
    backend_warnings: list = field(default_factory=list)
    prediction: list = field(default_factory=list)
    blocks_private_addresses: bool = False
    knows_backend_passwords: bool = True  # those before 1.12 do not
    requests: list = field(default_factory=list)  # (method, path)
    faults: list = field(default_factory=list)  # (method, path, status, headers), each used once
    url: str = ""

    def count(self, method, path):
        return self.requests.count((method, path))

    def writes(self):
        mine = "/user/login/", "/api/token/refresh/"
        return [seen for seen in self.requests if seen[0] != "GET" and seen[1] not in mine]


class Refused(Exception):
    def __init__(self, status, detail=None, **fields):
        super().__init__(detail)
        self.status = status
        self.body = {"status_code": status, "detail": detail or "Validation error", **fields}


def invalid(**fields):
    return Refused(400, validation_errors=fields)


def handler_for(fake):  # noqa: C901 - one server, one table of routes
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def answer(self, status, body, content_type="application/json", headers=()):
            content = body if isinstance(body, bytes) else json.dumps(body).encode()
            self.send_response(status)
            for name, value in headers:
                self.send_header(name, value)
            self.send_header("Content-Type", content_type)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def dispatch(self):
            address = urlsplit(self.path)
            self.params = {name: values[0] for name, values in parse_qs(address.query).items()}
            self.body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            path = address.path.removeprefix(fake.sub_path)
            is_elsewhere = not address.path.startswith(fake.sub_path)
            if is_elsewhere or (self.command, path) in fake.unknown:
                return self.answer(404, b"<html>nothing here</html>", "text/html")
            fake.requests.append((self.command, path))
            for fault in fake.faults:
                if fault[:2] == (self.command, path):
                    fake.faults.remove(fault)
                    return self.answer(fault[2], {"detail": "busy"}, headers=fault[3])
            try:
                if path == "/backend/validate":  # a backend that is seen from here, too
                    assert self.json()["config"]
                    return self.answer(200, {"warnings": fake.backend_warnings})
                if path == "/user/login/":
                    return self.login()
                return self.answer(*self.api(self.command, path))
            except Refused as refused:
                return self.answer(refused.status, refused.body)

        do_GET = do_POST = do_PATCH = dispatch  # noqa: N815 - http.server's names

        def login(self):
            if not fake.has_login_form:
                return self.answer(200, b"<html>Sign in with your company</html>", "text/html")
            if self.command == "GET":
                page = b'<input type="hidden" name="csrfmiddlewaretoken" value="abc">'
                anonymous = [("Set-Cookie", "csrftoken=abc"), ("Set-Cookie", "sessionid=nobody")]
                return self.answer(200, page, "text/html", anonymous)
            form = dict(parse_qsl(self.body.decode()))
            assert form["csrfmiddlewaretoken"] == "abc"
            assert "csrftoken=abc" in self.headers["Cookie"]
            if (form["email"], form["password"]) != (USER, PASSWORD):
                return self.answer(200, b"<p class=error>don't match</p>", "text/html")
            fake.logins += 1
            session = uuid.uuid4().hex
            fake.sessions.add(session)
            cookies = [("Set-Cookie", f"sessionid={session}"), ("Set-Cookie", "csrftoken=def")]
            return self.answer(302, b"", "text/html", [("Location", "/"), *cookies])

        def check_signature(self):
            kind, _, token = self.headers.get("Authorization", "").partition(" ")
            cookies = SimpleCookie(self.headers.get("Cookie", ""))
            if kind == "Token" and token == LEGACY:
                if fake.legacy_allowed:
                    return
                reason = "legacy token authentication has been disabled for this organization"
                raise Refused(401, f"Authentication token no longer valid: {reason}")
            if kind == "Bearer" and token in fake.access_tokens:
                return
            if "sessionid" in cookies and cookies["sessionid"].value in fake.sessions:
                return
            raise Refused(401, "Authentication credentials were not provided.")

        def api(self, method, path):  # noqa: C901, PLR0911, PLR0912 - the table of routes
            parts = path.strip("/").split("/")[1:]
            if (method, parts) == ("POST", ["token", "refresh"]):
                return 200, {"access": self.exchange()}
            self.check_signature()
            match method, parts:
                case "GET", ["version"]:
                    return 200, {"release": "1.23.2"}
                case "GET", ["current-user", "whoami"]:
                    return 200, {"email": USER}
                case "GET", ["current-user", "token"]:
                    return 200, {"detail": "", "token": LEGACY}
                case "POST", ["token"]:
                    if fake.has_token:
                        raise Refused(409, "You already have a valid token.")
                    fake.has_token = True
                    return 201, {"token": fake.personal_token}
                case "GET", ["token"]:
                    return 200, [{"token": fake.personal_token.rpartition(".")[0]}]
                case "POST", ["token", "blacklist"]:
                    assert self.json()["refresh"] == fake.personal_token.rpartition(".")[0]
                    fake.has_token = False
                    return 200, {}
                case "GET", ["projects"]:
                    words = self.params["title"].lower()
                    found = [row for row in fake.projects.values() if words in row["title"].lower()]
                    page = int(self.params["page"])
                    more = len(found) > 2 * page  # this server's pages have two rows
                    return 200, {"results": found[2 * page - 2 : 2 * page], "next": more or None}
                case "POST", ["projects"]:
                    if len(self.json()["title"]) < 3:
                        raise invalid(title=["Ensure this field has at least 3 characters."])
                    return 201, self.store(fake.projects, self.json())
                case "GET", ["projects", number]:
                    if int(number) not in fake.projects:
                        raise Refused(404, "No Project matches the given query.")
                    return 200, fake.projects[int(number)]
                case "POST", ["projects", number, "import"]:
                    return 201, {"task_ids": [self.add_task(number, row) for row in self.rows()]}
                case "GET", ["tasks"]:
                    return 200, self.page_of_tasks()
                case "GET", ["ml"]:
                    return 200, self.of_project(fake.backends)
                case "POST", ["ml"]:
                    backend = self.checked_backend({"basic_auth_user": "", **self.json()})
                    row = self.store(fake.backends, backend)
                    hook = f"{row['url']}/webhook"
                    if "." in (urlsplit(hook).hostname or ""):
                        self.store(fake.webhooks, {"project": row["project"], "url": hook})
                    return 201, row
                case "PATCH", ["ml", number]:
                    backend = fake.backends[int(number)]
                    changed = self.checked_backend(self.json())
                    backend.update(changed)
                    return 200, backend
                case "POST", ["ml", number, "predict", "test"]:
                    project = fake.backends[int(number)]["project"]
                    own = [row for row in fake.tasks.values() if row["project"] == project]
                    if not own:
                        raise Refused(500, "Project has no tasks to run prediction on, import one")
                    return 200, {"task": own[0], "response": fake.prediction}
                case "GET", ["webhooks"]:
                    return 200, self.of_project(fake.webhooks)
                case "POST", ["webhooks"]:
                    return 201, self.store(fake.webhooks, self.checked_hook(self.json()))
                case "PATCH", ["webhooks", number]:
                    fake.webhooks[int(number)].update(self.checked_hook(self.json()))
                    return 200, fake.webhooks[int(number)]
            raise Refused(404, f"no route {method} {path}")

        def json(self):
            return json.loads(self.body)

        def store(self, table, row):
            number = len(table) + 1
            table[number] = {**row, "id": number}
            return table[number]

        def of_project(self, table):
            return [row for row in table.values() if row["project"] == int(self.params["project"])]

        def exchange(self):
            if self.json()["refresh"] != fake.personal_token:
                raise Refused(401, "Token is invalid")
            fake.exchanges += 1
            access = web_token("access", fake.access_lifetime_s)
            fake.access_tokens.add(access)
            return access

        def rows(self):
            if self.headers["Content-Type"] == "application/json":
                return [row["data"] for row in self.json()]
            head = f"Content-Type: {self.headers['Content-Type']}\r\n\r\n".encode()
            parts = BytesParser(policy=HTTP).parsebytes(head + self.body).iter_parts()
            # Like Django's, this form keeps the last file of each field name only.
            kept = {
                part.get_param("name", header="content-disposition"): part.get_filename()
                for part in parts
            }
            return [{"image": f"/data/upload/{name}"} for name in kept.values()]

        def add_task(self, project, data):
            project = int(project)
            inner_id = 1 + sum(row["project"] == project for row in fake.tasks.values())
            row = {"project": project, "inner_id": inner_id, "data": data}
            return self.store(fake.tasks, row)["id"]

        def page_of_tasks(self):
            query = json.loads(self.params["query"])
            [item] = query["filters"]["items"]
            assert item["filter"] == "filter:tasks:id"
            assert item["operator"] == "greater"
            assert query["ordering"] == ["tasks:id"]
            assert self.params["resolve_uri"] == "false"
            project = int(self.params["project"])
            found = [
                {name: row[name] for name in self.params["include"].split(",")}
                for row in sorted(fake.tasks.values(), key=lambda row: row["id"])
                if row["project"] == project and row["id"] > item["value"]
            ]
            size = min(int(self.params["page_size"]), fake.max_page_size)
            return {"total": len(found), "tasks": found[:size]}

        def checked_backend(self, row):
            if fake.blocks_private_addresses:
                raise Refused(
                    403, "URL resolves to a reserved network address (block: 127.0.0.0/8)"
                )
            if row["url"] not in fake.running_backends:
                link = '<a href="https://labelstud.io">Learn more</a> about how to set one up.'
                said = f"Can't connect to ML backend {row['url']}, health check failed. {link}"
                raise invalid(non_field_errors=[said])
            wanted = fake.running_backends[row["url"]]
            if not fake.knows_backend_passwords:
                row = {name: row[name] for name in row if not name.startswith("basic_auth_")}
                if wanted:
                    said = f"Can't connect to ML backend {row['url']}, health check failed. "
                    said += "Additional info:401 Client Error: Unauthorized for url: http://…"
                    raise invalid(non_field_errors=[said])
                return {**row, "state": "CO", "model_version": "v1"}
            if wanted and (row.get("basic_auth_user"), row.get("basic_auth_pass")) != wanted:
                said = (
                    "Able to connect to ML Server, but authentication parameters were either not "
                    "provided or are incorrect."
                )
                raise invalid(non_field_errors=[said])
            return {**row, "state": "CO", "model_version": "v1"}

        def checked_hook(self, row):
            if "." not in (urlsplit(row["url"]).hostname or ""):
                raise invalid(url=["Enter a valid URL."])
            return row

        def log_message(self, *_):
            pass

    return Handler


@pytest.fixture
def fake():
    """A fresh Label Studio, served at `fake.url`; set `fake.sub_path` and `url` to move it."""
    state = FakeLabelStudio()
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler_for(state))
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    state.url = f"http://127.0.0.1:{server.server_port}"
    yield state
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.fixture
def studio(fake):
    """A client of it, signed in with a legacy token."""
    with LabelStudio(fake.url, token=LEGACY) as client:
        yield client


@pytest.fixture(autouse=True)
def no_pauses(monkeypatch):
    """Repetitions come at once, but remember how long they would have waited."""
    pauses = []
    monkeypatch.setattr("time.sleep", pauses.append)
    return pauses


@pytest.fixture
def tokens():
    """The tokens that the fake knows, and a maker of new ones."""

    class Tokens:
        legacy = LEGACY
        user = USER
        password = PASSWORD
        make = staticmethod(web_token)

    return Tokens
