"""Whether the server in this container answers: exit code 0 or 1, and a line that says why.

The image's HEALTHCHECK. It uses nothing but Python's own library, so that asking costs little, and
asks `/live`, which needs no password. The address is that of the first process, or the settings.
A container that runs another command, such as `prelabel worker`, has no server to ask.
"""  # noqa: INP001 - a script, in no package

import http.client
import os
import ssl
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

TIMEOUT_S = 4.0
"""A second less than Docker is told to wait."""

ANYWHERE = {"": "127.0.0.1", "0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 - not bound, asked
OK = 200


def main() -> int:
    """Ask, and say what came of it."""
    words = Path("/proc/1/cmdline").read_bytes().decode(errors="replace").split("\0")
    healthy, why = check(words, os.environ)
    sys.stdout.write(f"{why}\n")
    return 0 if healthy else 1


def check(words: Sequence[str], environment: Mapping[str, str]) -> tuple[bool, str]:
    """Whether all is well, and why.

    Args:
        words: The command line of the container's first process.
        environment: The container's variables.
    """
    if not any("serve" in word for word in words):
        return True, "this container runs no server"
    host = _option(words, "--host") or environment.get("BIND_ADDRESS", "")
    port = int(_option(words, "--port", "-p") or environment.get("PORT") or 9090)
    secure = bool(_option(words, "--ssl-certfile") or environment.get("SSL_CERTFILE"))
    try:
        status = _ask(ANYWHERE.get(host, host), port, secure=secure)
    except OSError as error:
        return False, f"no answer on port {port}: {error}"
    except http.client.HTTPException as error:
        return False, f"no HTTP on port {port}: {error!r}"
    return status == OK, f"/live answered {status}"


def _ask(host: str, port: int, *, secure: bool) -> int:
    connection: http.client.HTTPConnection
    if secure:
        # We speak to ourselves; the certificate is for the name that others use.
        context = ssl._create_unverified_context()  # noqa: S323, SLF001
        connection = http.client.HTTPSConnection(host, port, timeout=TIMEOUT_S, context=context)
    else:
        connection = http.client.HTTPConnection(host, port, timeout=TIMEOUT_S)
    try:
        connection.request("GET", "/live")
        return connection.getresponse().status
    finally:
        connection.close()


def _option(words: Sequence[str], *names: str) -> str:
    """The value of an option, written `--name value` or `--name=value`; "" where it is missing."""
    for place, word in enumerate(words):
        name, equals, value = word.partition("=")
        if name in names:
            return value if equals else "".join(words[place + 1 : place + 2])
    return ""


if __name__ == "__main__":
    sys.exit(main())
