"""A model hub on this machine, as far as `hf download` asks one."""

import hashlib
import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

REVISION = "0" * 40


class Hub:
    """Offers the files of a folder as a model, until `stop`.

    Attributes:
        url: What `HF_ENDPOINT` is to be.
        fetched: The names of the files that were fetched.
    """

    def __init__(self, model: str, folder: Path) -> None:
        self.fetched: set[str] = set()
        self._model = model
        self._files = {path.name: path.read_bytes() for path in folder.iterdir()}
        hub = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self):
                hub.answer(self)

            def do_HEAD(self):
                hub.answer(self)

            def log_message(self, *_): ...

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)
        self._thread.start()

    def answer(self, request: BaseHTTPRequestHandler) -> None:
        """Tell what the model has, or give a file of it."""
        path, name = request.path.partition("?")[0], request.path.rpartition("/")[2]
        if path == f"/api/models/{self._model}/revision/main":
            about = {"id": self._model, "sha": REVISION, "siblings": self._listed()}
            self._send(request, json.dumps(about).encode())
        elif path.startswith(f"/api/models/{self._model}/tree/"):
            self._send(request, json.dumps(self._listed()).encode())
        elif path.startswith(f"/{self._model}/resolve/") and name in self._files:
            self.fetched |= {name} if request.command == "GET" else set()
            self._send(request, self._files[name])
        else:
            request.send_error(404)

    def stop(self) -> None:
        """Answer no more."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def _listed(self) -> list[dict[str, object]]:
        return [
            {
                "type": "file",
                "rfilename": name,
                "path": name,
                "size": len(content),
                "oid": mark(content),
            }
            for name, content in self._files.items()
        ]

    def _send(self, request: BaseHTTPRequestHandler, body: bytes) -> None:
        request.send_response(200)
        request.send_header("Content-Type", "application/json")
        request.send_header("Content-Length", str(len(body)))
        request.send_header("ETag", f'"{mark(body)}"')
        request.send_header("X-Repo-Commit", REVISION)
        request.end_headers()
        if request.command == "GET":
            request.wfile.write(body)


def mark(content: bytes) -> str:
    """What tells one version of a file from another."""
    return hashlib.sha256(content).hexdigest()
