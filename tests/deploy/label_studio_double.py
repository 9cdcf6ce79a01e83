"""A Label Studio and a backend in few lines, with a memory, that can be told to misbehave."""

import json
import re
import threading
from http.cookies import SimpleCookie
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

TOKEN = "c" * 32


class LabelStudioDouble:
    """Answers what test_backend.py asks, on a port of its own; the backend is below /backend.

    Attributes:
        url: Where it is.
        projects: Those that were made and not deleted, by id.
        reachable: Addresses at which it reaches a backend.
        makes_webhooks: Whether attaching makes one, as it should.
        per_retrieve: How many predictions the first retrieve adds.
        repeats: Whether each retrieve adds them, and not the first alone.
        empty_retrieves: How many retrieves bring nothing at first.
        version: What predictions carry.
        health: What the backend says of itself.
        password: What signs in.
    """

    def __init__(self):
        double = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self):
                self._answer("GET")

            def do_POST(self):
                self._answer("POST")

            def do_DELETE(self):
                self._answer("DELETE")

            def log_message(self, *_): ...

            def _answer(self, method):
                body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
                cookies = SimpleCookie(self.headers.get("Cookie", ""))
                status, answer, *more = double.answer(
                    method, self.path, body, cookies, self.headers
                )
                text = answer if isinstance(answer, bytes) else json.dumps(answer).encode()
                self.send_response(status)
                for name, value in more:
                    self.send_header(name, value)
                self.send_header("Content-Length", str(len(text)))
                self.end_headers()
                self.wfile.write(text)

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"
        self._thread = threading.Thread(target=self._server.serve_forever)
        self._thread.start()
        self.projects, self.pictures, self.backends, self.hooks = {}, [], {}, []
        self.predictions, self.reachable, self.makes_webhooks = [], {f"{self.url}/backend"}, True
        self.per_retrieve, self.repeats, self.empty_retrieves, self.version = 1, False, 0, "v1"
        self.health, self.password, self.backend_login = {"model_loaded": True}, "right", None

    def stop(self):
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def answer(self, method, path, body, cookies, headers):
        """Status, body and further headers of an answer."""
        path = path.partition("?")[0]
        if path.startswith("/backend"):
            return self._as_backend(path.removeprefix("/backend"), headers)
        if path == "/user/login/":
            return self._login(method, body)
        if path in {"/", "/api/version"}:
            return 200, {"release": "1.23.2"}
        if "sessionid" not in cookies:
            return 401, {"detail": "not signed in"}
        if method != "GET" and headers.get("X-CSRFToken") != TOKEN:
            return 403, {"detail": "CSRF"}
        return self._routes[method, re.sub(r"\d+", "N", path)](path, body)

    def _login(self, method, body):
        if method == "GET":
            form = f'<input name="csrfmiddlewaretoken" value="{TOKEN}">'
            return 200, form.encode(), ("Set-Cookie", f"csrftoken={TOKEN}; Path=/")
        if f"password={self.password}".encode() not in body:
            return 200, b"<html>try again</html>"
        return 302, b"", ("Set-Cookie", "sessionid=s; Path=/"), ("Location", "/")

    def _as_backend(self, path, headers):
        if self.backend_login and "Authorization" not in headers:
            return 401, {"detail": "who are you"}
        answers = {
            "/health": self.health,
            "/setup": {"model_version": "v1"},
            "/status": {
                "projects": [{"project": "1", "last_failures": [{"reason": "no memory left"}]}]
            },
        }
        return 200, answers[path]

    @property
    def _routes(self):
        """What is done for who is signed in, by method and path."""
        return {
            ("GET", "/api/current-user/whoami"): lambda *_: (
                200,
                {"email": "annotator@example.com"},
            ),
            ("POST", "/api/projects/"): self._make,
            ("DELETE", "/api/projects/N/"): lambda *_: (204, self.projects.clear() or b""),
            ("POST", "/api/projects/N/import"): lambda _, body: (201, self.pictures.append(body)),
            ("GET", "/api/tasks"): lambda *_: (200, {"tasks": [{"id": 5}]}),
            ("POST", "/api/ml/"): lambda _, body: self._attach(json.loads(body)["url"]),
            ("GET", "/api/ml"): lambda *_: (200, [{"id": number} for number in self.backends]),
            ("DELETE", "/api/ml/N"): self._detach,
            ("GET", "/api/webhooks/"): lambda *_: (200, [{"url": url} for url in self.hooks]),
            ("POST", "/api/dm/actions"): lambda *_: self._retrieve(),
            ("GET", "/api/predictions/"): lambda *_: (200, self.predictions),
        }

    def _make(self, _, body):
        self.projects[1] = json.loads(body)
        return 201, {"id": 1}

    def _detach(self, path, _):
        del self.backends[int(path.rpartition("/")[2])]
        return 204, b""

    def _attach(self, url):
        self.backends[len(self.backends) + 1] = url  # what is refused may be left behind
        if url not in self.reachable:
            return 400, {"detail": "Can't connect to ML backend"}
        if self.makes_webhooks:
            self.hooks.append(f"{url}/webhook")
        return 201, {"id": len(self.backends), "state": "CO"}

    def _retrieve(self):
        if self.empty_retrieves:
            self.empty_retrieves -= 1
        elif not self.predictions or self.repeats:
            new = {"result": [{}], "model_version": self.version}
            self.predictions += [new] * self.per_retrieve
        return 200, {}
