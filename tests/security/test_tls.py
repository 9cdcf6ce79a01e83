"""HTTPS as `prelabel serve` serves it: verified, without a way around, and refused when wrong."""

import os
import socket
import ssl
import subprocess
import time
from contextlib import closing

import httpx2
import pytest

from prelabel.batch.backend import Backend
from prelabel.batch.packing import Squeeze, first_picture
from prelabel.errors import OperatorError
from prelabel.labelstudio.templates import boxes_config
from prelabel.launch.backend import is_running, own_certificate
from prelabel.launch.processes import free_port
from prelabel.settings import Settings

from .conftest import PRELABEL


def trusting(certificates):
    return ssl.create_default_context(cafile=certificates / "ca.pem")


def live(url, verify):
    """The answer of /live, once the server is up."""
    deadline = time.monotonic() + 60
    while True:
        try:
            return httpx2.get(f"{url}/live", verify=verify)
        except httpx2.ConnectError as error:
            if "CERTIFICATE" in str(error) or time.monotonic() > deadline:
                raise
            time.sleep(0.1)


@pytest.fixture(params=["settings", "flags"])
def encrypted(request, start, certificates):
    """Address and log of a server with a certificate, set in either way."""
    cert, key = str(certificates / "cert.pem"), str(certificates / "key.pem")
    if request.param == "settings":
        port, child = start(encrypted=True, SSL_CERTFILE=cert, SSL_KEYFILE=key)
    else:
        port, child = start("--ssl-certfile", cert, "--ssl-keyfile", key, encrypted=True)
    url = f"https://localhost:{port}"
    assert live(url, trusting(certificates)).json() == {"status": "ok"}
    return url, child


def test_a_caller_that_verifies_is_served_and_plain_http_is_not(encrypted, certificates):
    url, child = encrypted
    with pytest.raises(httpx2.ConnectError, match="CERTIFICATE_VERIFY_FAILED"):
        httpx2.get(f"{url}/live")
    with pytest.raises(httpx2.TransportError):
        httpx2.get(url.replace("https", "http") + "/live")
    # The certificate is for localhost, not for this name at the same address.
    with (
        httpx2.Client(verify=trusting(certificates)) as client,
        pytest.raises(httpx2.ConnectError, match="CERTIFICATE_VERIFY_FAILED"),
    ):
        client.get(f"{url}/live", extensions={"sni_hostname": "other.example"})
    assert live(url, trusting(certificates)).status_code == 200
    log = child.log_path.read_text()
    assert "address=https://127.0.0.1:" in log
    assert "Traceback" not in log


def test_the_backend_is_known_by_its_own_certificate_at_its_address(encrypted, certificates):
    url = encrypted[0].replace("localhost", "127.0.0.1")
    both = {"ssl_certfile": certificates / "cert.pem", "ssl_keyfile": certificates / "key.pem"}
    assert is_running(url, verify=own_certificate(Settings(_env_file=None, **both)))
    assert not is_running(url)
    assert not is_running(url, verify=own_certificate(Settings(_env_file=None)))


def test_a_run_asks_a_backend_whose_authority_it_was_told(encrypted, certificates):
    def backend(verify):
        config = boxes_config()
        return closing(
            Backend(encrypted[0], None, config, 7, max_retries=9, max_backoff_s=9.0, verify=verify)
        )

    picture = first_picture(Squeeze(80, 256))
    with backend(True) as stranger, pytest.raises(OperatorError, match="VERIFY_SSL"):
        stranger.prepare(picture)
    with backend(str(certificates / "ca.pem")) as known:
        version, _ = known.prepare(picture)
    assert version


def offered(port, certificates, **limits):
    """What TLS a client that can do only so much agrees on with the server."""
    context = trusting(certificates)
    context.set_ciphers(limits.pop("ciphers", "ALL:@SECLEVEL=0"))
    for name, value in limits.items():
        setattr(context, name, value)
    with (
        socket.create_connection(("127.0.0.1", port)) as plain,
        context.wrap_socket(plain, server_hostname="localhost") as encrypted,
    ):
        return encrypted.version(), encrypted.cipher()[0]


def test_only_sound_versions_and_ciphers_are_spoken(start, certificates):
    cert, key = str(certificates / "cert.pem"), str(certificates / "key.pem")
    port, _ = start(encrypted=True, SSL_CERTFILE=cert, SSL_KEYFILE=key)
    live(f"https://localhost:{port}", trusting(certificates))
    assert offered(port, certificates)[0] == "TLSv1.3"
    old = {"maximum_version": ssl.TLSVersion.TLSv1_2}
    version, cipher = offered(port, certificates, **old)
    assert version == "TLSv1.2"
    assert "GCM" in cipher or "CHACHA20" in cipher
    with pytest.raises((ssl.SSLError, ConnectionError)):
        offered(port, certificates, **old, ciphers="ECDHE-ECDSA-AES256-SHA:@SECLEVEL=0")


@pytest.mark.parametrize(
    ("cert", "key", "says"),
    [
        ("cert.pem", None, "SSL_CERTFILE and SSL_KEYFILE go together"),
        (None, "key.pem", "SSL_CERTFILE and SSL_KEYFILE go together"),
        ("missing.pem", "key.pem", "No such file"),
        ("cert.pem", "missing.pem", "No such file"),
        ("cert.pem", "other.key", "cannot be used"),  # another certificate's key
        ("key.pem", "cert.pem", "cannot be used"),  # mixed up
        ("cert.pem", "locked.key", "cannot be used"),  # must not ask a terminal for its password
    ],
)
def test_files_that_do_not_go_together_end_the_start_with_what_to_do(
    certificates, cert, key, says, tmp_path
):
    given = {"SSL_CERTFILE": cert, "SSL_KEYFILE": key}
    files = {name: str(certificates / file) for name, file in given.items() if file}
    ended = subprocess.run(
        [PRELABEL, "serve", "--port", str(free_port())],
        env={**os.environ, **files},
        cwd=tmp_path,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert ended.returncode == 2
    assert says in ended.stderr
    assert "Traceback" not in ended.stderr
