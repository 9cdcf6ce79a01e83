"""The transport connects to the addresses that were checked, and TLS goes by the name."""

import shutil
import ssl
import subprocess
import threading
import time

import httpx2
import pytest

from prelabel.errors import ImageUnreachable, SettingsError
from prelabel.media.addresses import AddressPolicy, AddressRefused
from prelabel.media.fetch import Fetcher
from prelabel.media.limits import Limits
from prelabel.media.references import ImageReference
from prelabel.media.transport import PinnedTransport


class Names:
    """A resolver that answers each look-up of a name with the next address."""

    def __init__(self, *answers):
        self.left = list(answers)
        self.asked = []

    def __call__(self, host, port):
        self.asked.append((host, port))
        return self.left.pop(0) if len(self.left) > 1 else self.left[0]


def get(transport, url, trusted=(), deadline_s=5.0):
    origins = [httpx2.Origin(origin) for origin in trusted]
    with transport.visit(deadline=time.monotonic() + deadline_s, trusted=origins):
        client = httpx2.Client(transport=transport, trust_env=False)
        return client.get(url)


@pytest.fixture
def pinned():
    made = []

    def make(policy, names, **options):
        made.append(PinnedTransport(policy, resolve=names, **options))
        return made[-1]

    yield make
    for transport in made:
        transport.close()


def test_the_connection_goes_to_the_address_that_was_checked(studio, pinned):
    studio.answer("/a", b"x")
    names = Names(["127.0.0.1"], ["10.255.255.1"])
    transport = pinned(AddressPolicy(("127.0.0.1",)), names)
    assert get(transport, f"http://rebinding.example:{studio.port}/a").content == b"x"
    assert names.asked == [("rebinding.example", studio.port)]
    assert studio.sent("Host") == [f"rebinding.example:{studio.port}"]


def test_a_name_that_turns_private_is_refused_though_a_connection_is_open(serve, pinned):
    server = serve()
    server.answer("/a", b"x")
    transport = pinned(AddressPolicy(("127.0.0.1",)), Names(["127.0.0.1"], ["127.0.0.2"]))
    url = f"http://rebinding.example:{server.port}/a"
    get(transport, url)
    with pytest.raises(AddressRefused, match=r"127\.0\.0\.2"):
        get(transport, url)
    assert len(server.asked) == 1


def test_the_second_address_is_tried_where_the_first_does_not_answer(studio, pinned):
    studio.answer("/a", b"x")
    transport = pinned(AddressPolicy(("127.0.0.0/8",)), Names(["127.0.0.9", "127.0.0.1"]))
    assert get(transport, f"http://two.example:{studio.port}/a").content == b"x"


def test_trust_ends_with_the_visit(studio, pinned):
    studio.answer("/a", b"x")
    transport = pinned(AddressPolicy(), Names(["127.0.0.1"]))
    assert get(transport, studio.url + "/a", trusted=[studio.url]).content == b"x"
    with pytest.raises(AddressRefused):
        get(transport, studio.url + "/a")


def test_trust_of_one_thread_is_not_that_of_another(studio, pinned):
    transport = pinned(AddressPolicy(), Names(["127.0.0.1"]))
    refused = []

    def work():
        try:
            httpx2.Client(transport=transport, trust_env=False).get(studio.url)
        except AddressRefused as error:
            refused.append(error)

    with transport.visit(deadline=time.monotonic() + 5, trusted=[httpx2.Origin(studio.url)]):
        thread = threading.Thread(target=work)
        thread.start()
        thread.join()
    assert len(refused) == 1


def test_nothing_is_begun_after_the_deadline(studio, pinned):
    transport = pinned(AddressPolicy(("127.0.0.1",)), Names(["127.0.0.1"]))
    with pytest.raises(httpx2.ConnectTimeout):
        get(transport, studio.url, deadline_s=-1)


def test_a_name_without_addresses_is_no_connection(pinned):
    with pytest.raises(httpx2.ConnectError):
        get(pinned(AddressPolicy(), Names([])), "http://nothing.example/")


def test_certificates_that_cannot_be_read_are_a_mistake_in_the_settings(tmp_path):
    with pytest.raises(SettingsError, match="VERIFY_SSL"):
        PinnedTransport(AddressPolicy(), verify=str(tmp_path / "nothing.pem"))


@pytest.fixture
def certificate(tmp_path):
    """Paths of a certificate for pictures.example, signed by itself, and of its key."""
    if shutil.which("openssl") is None:
        pytest.skip("no openssl command; install the package openssl")
    cert, key = tmp_path / "cert.pem", tmp_path / "key.pem"
    command = "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2"
    names = ["-subj", "/CN=pictures.example", "-addext", "subjectAltName=DNS:pictures.example"]
    paths = ["-keyout", str(key), "-out", str(cert)]
    subprocess.run([*command.split(), *names, *paths], check=True, capture_output=True)
    return cert, key


@pytest.fixture
def tls_studio(serve, certificate):
    server = serve()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*certificate)
    server.listener.socket = context.wrap_socket(server.listener.socket, server_side=True)
    server.answer("/a", b"x")
    return server


def test_tls_verifies_the_name_though_the_connection_goes_to_an_address(
    tls_studio, certificate, pinned
):
    policy, names = AddressPolicy(("127.0.0.1",)), Names(["127.0.0.1"])
    transport = pinned(policy, names, verify=str(certificate[0]))
    assert get(transport, f"https://pictures.example:{tls_studio.port}/a").content == b"x"
    # The same address under another name: the open connection must not be used for it.
    with pytest.raises(httpx2.ConnectError, match="CERTIFICATE_VERIFY_FAILED"):
        get(transport, f"https://other.example:{tls_studio.port}/a")
    assert tls_studio.paths == ["/a"]


def test_a_certificate_that_is_not_trusted_says_what_to_set(tls_studio):
    fetcher = Fetcher(
        Limits(fetch_timeout_s=3), AddressPolicy(("127.0.0.1",)), resolve=Names(["127.0.0.1"])
    )
    with pytest.raises(ImageUnreachable, match=r"not trusted\. Set VERIFY_SSL"):
        fetcher.fetch(ImageReference(f"https://pictures.example:{tls_studio.port}/a"))
    fetcher.close()


def test_verification_can_be_turned_off(tls_studio, pinned):
    transport = pinned(AddressPolicy(("127.0.0.1",)), Names(["127.0.0.1"]), verify=False)
    assert get(transport, f"https://other.example:{tls_studio.port}/a").content == b"x"
