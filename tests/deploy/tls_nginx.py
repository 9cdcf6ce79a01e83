"""The shipped tls.conf in a real nginx, with certificates from the shipped script."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from prelabel.launch.processes import Child

DEPLOY = Path(__file__).resolve().parents[2] / "deploy"
SCRIPT = DEPLOY / "tls" / "make_certificates.sh"


def make_certificates(folder, *servers):
    """Make an authority and certificates for the servers, in the words of the script."""
    if shutil.which("openssl") is None:
        pytest.skip("no openssl; apt-get install openssl")
    subprocess.run(["sh", SCRIPT, folder, *servers], check=True, stdout=subprocess.DEVNULL)


def start(folder, tls, ports, behind, names_port):
    """Start nginx, once it has found nothing wrong with the configuration.

    Args:
        folder: Where it writes.
        tls: What `make_certificates` made for `nginx` and `public`.
        ports: What to listen on for plain HTTP, for Label Studio and for prelabel.
        behind: The ports of `label-studio` and `ml-backend`.
        names_port: Where a name server listens that knows both.
    """
    program = shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin:/usr/local/sbin")
    if program is None:
        pytest.skip("no nginx; install Debian's nginx-light or another")
    (folder / "nginx.conf").write_text(_adapted(folder, tls, ports, behind, names_port))
    command = [program, "-p", str(folder), "-c", "nginx.conf", "-e", "error.log"]
    subprocess.run([*command, "-t"], check=True, capture_output=True)
    # As root it would give its work to a user who may not write below our folder.
    command += ["-g", "daemon off;" + (" user root;" if os.geteuid() == 0 else "")]
    return Child.start("nginx", command, log_path=folder / "nginx.log", environment={})


def _adapted(folder, tls, ports, behind, names_port):
    """The shipped configuration with our ports, files and name server."""
    written = (DEPLOY / "nginx" / "tls.conf").read_text("utf-8")
    changes = {
        "worker_processes auto": "worker_processes 1",  # each remembers names for itself
        "/tmp/": f"{folder}/",
        "access_log /dev/stdout": f"access_log {folder}/access.log",
        " /public/": f" {tls}/public/",
        " /tls/": f" {tls}/nginx/",
        "resolver 127.0.0.11 valid=5s": f"resolver 127.0.0.1:{names_port} valid=1s",
        "http://label-studio:8080;": f"http://label-studio:{behind['label-studio']};",
        "https://ml-backend:9090;": f"https://ml-backend:{behind['ml-backend']};",
        "listen 8080;": f"listen 127.0.0.1:{ports[0]};",
        "listen 8443 ssl;": f"listen 127.0.0.1:{ports[1]} ssl;",
        "listen 9090 ssl;": f"listen 127.0.0.1:{ports[2]} ssl;",
    }
    for old, new in changes.items():
        assert old in written, old
        written = written.replace(old, new)
    return written
