"""A real nginx with the configuration that we ship, in front of servers on this machine."""

import re
import shutil
from pathlib import Path

import pytest

from prelabel.launch.processes import Child, free_port

SHIPPED = Path(__file__).resolve().parents[2] / "deploy" / "nginx" / "nginx.conf"
_WRITES = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")


class Nginx:
    """Runs until `stop`, as whoever runs the tests.

    Attributes:
        url: Where it is.
    """

    def __init__(self, folder, ports):
        program = shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin:/usr/local/sbin")
        if program is None:
            pytest.skip("no nginx; install Debian's nginx-light or another")
        port = free_port()
        self.url = f"http://127.0.0.1:{port}"
        (folder / "nginx.conf").write_text(_adapted(SHIPPED.read_text("utf-8"), port, ports))
        command = [program, "-p", str(folder), "-c", "nginx.conf", "-e", "error.log"]
        command += ["-g", "daemon off; pid nginx.pid;"]
        self._child = Child.start("nginx", command, log_path=folder / "out.log", environment={})
        self._child.wait_until_answers(f"{self.url}/live", timeout_s=10)

    def stop(self):
        self._child.stop()


def _adapted(shipped, port, ports):
    """The shipped configuration for other ports, with all files in nginx's own folder."""
    servers = "\n".join(f"    server 127.0.0.1:{one} max_fails=0;" for one in ports)
    adapted, found = re.subn(
        r"( +server prelabel-\d:9090 max_fails=0;\n)+", f"{servers}\n", shipped
    )
    assert found == 1
    folders = "".join(f"  {one}_temp_path {one};\n" for one in _WRITES)
    for old, new in (
        ("http {\n", f"http {{\n  access_log off;\n{folders}"),
        ("listen 9090;", f"listen 127.0.0.1:{port};"),
    ):
        assert old in adapted
        adapted = adapted.replace(old, new)
    return adapted
