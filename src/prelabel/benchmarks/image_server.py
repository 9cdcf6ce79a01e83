"""Serves pictures of noise over HTTP, each after a while and no two of the same bytes.

`python -m prelabel.benchmarks.image_server PORT WIDTH HEIGHT LATENCY_MS`: any path is a picture.
"""

import sys
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

FILES = 16


def pictures(width: int, height: int) -> list[bytes]:
    """Different JPEG files of smooth noise."""
    import cv2
    import numpy as np

    generator = np.random.default_rng(0)
    coarse = generator.integers(0, 256, (FILES, height // 30, width // 30, 3), np.uint8)
    return [cv2.imencode(".jpg", cv2.resize(one, (width, height)))[1].tobytes() for one in coarse]


def unlike_any(jpeg: bytes, words: str) -> bytes:
    """The file with words of its own in a comment, so that no cache knows it."""
    comment = words.encode()
    length = (len(comment) + 2).to_bytes(2, "big")
    return jpeg[:2] + b"\xff\xfe" + length + comment + jpeg[2:]


def server(port: int, width: int, height: int, latency_s: float = 0.0) -> ThreadingHTTPServer:
    """A server on loopback that serves once it is told to; port 0 takes a free one."""
    files = pictures(width, height)

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True

        def do_GET(self) -> None:
            time.sleep(latency_s)
            content = unlike_any(files[hash(self.path) % FILES], self.path)
            self.send_response(200)
            self.send_header("Content-Type", "image/jpeg")
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_: object) -> None:
            """Say nothing: there are thousands."""

    return ThreadingHTTPServer(("127.0.0.1", port), Handler)


if __name__ == "__main__":
    port, width, height, latency_ms = map(int, sys.argv[1:])
    server(port, width, height, latency_ms / 1000).serve_forever()
