"""An HTTP proxy on a socket that somebody else opened, as pip uses one."""

import contextlib
import socket
import threading
from urllib.parse import urlsplit

CONNECT_S = 60
AT_ONCE = 1 << 16
LONGEST_HEAD = 1 << 16


class Proxy:
    """Passes on what comes to a listening socket, from where this program runs.

    The socket may belong to another network than this program does.
    """

    def __init__(self, listener: socket.socket):
        self._listener = listener
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self):
        """Take no more."""
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()

    def _accept(self):
        with contextlib.suppress(OSError):  # closed
            while True:
                caller, _ = self._listener.accept()
                threading.Thread(target=_serve, args=(caller,), daemon=True).start()


def _serve(caller):
    """One request, and all that follows it on its connection."""
    with contextlib.suppress(OSError, ValueError), caller:
        head, _, body = _read_head(caller).partition(b"\r\n\r\n")
        first, *fields = head.decode("latin-1").split("\r\n")
        method, target, version = first.split(" ")
        try:
            server = _connected(target if method == "CONNECT" else urlsplit(target).netloc)
        except OSError as error:
            caller.sendall(f"HTTP/1.1 502 {error}\r\nContent-Length: 0\r\n\r\n".encode())
            return
        with server:
            if method == "CONNECT":
                caller.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
            else:
                # A connection that is kept would be asked for another server's pages as well.
                kept = [
                    one for one in fields if not one.lower().startswith(("connection", "proxy-"))
                ]
                path = urlsplit(target)._replace(scheme="", netloc="").geturl() or "/"
                lines = [f"{method} {path} {version}", *kept, "Connection: close", "", ""]
                server.sendall("\r\n".join(lines).encode("latin-1"))
            server.sendall(body)
            back = threading.Thread(target=_pass_on, args=(server, caller), daemon=True)
            back.start()
            _pass_on(caller, server)
            back.join()


def _read_head(caller):
    head = b""
    while b"\r\n\r\n" not in head and len(head) < LONGEST_HEAD:
        if not (part := caller.recv(AT_ONCE)):
            raise ValueError(head)
        head += part
    return head


def _connected(netloc):
    host, _, port = netloc.rpartition("@")[2].rpartition(":")
    if not host:
        host, port = port, "80"
    server = socket.create_connection((host.strip("[]"), int(port)), timeout=CONNECT_S)
    server.settimeout(None)
    return server


def _pass_on(source, target):
    with contextlib.suppress(OSError):
        while part := source.recv(AT_ONCE):
            target.sendall(part)
        target.shutdown(socket.SHUT_WR)
