"""Addresses of images with hosts in any spelling: nothing private is ever connected to."""

import contextlib
from ipaddress import IPv4Address, ip_address

import httpcore2
import pytest
from hypothesis import event, given
from hypothesis import strategies as st

from prelabel.errors import TaskError
from prelabel.media import transport
from prelabel.media.addresses import AddressPolicy, is_public
from prelabel.media.fetch import Fetcher
from prelabel.media.limits import Limits
from prelabel.media.references import ImageReference, Origin

from . import shapes
from .conftest import tried

STUDIO = "http://studio.test:8080/ls"
V4 = st.ip_addresses(v=4) | st.sampled_from(
    [IPv4Address(text) for text in ("127.0.0.1", "169.254.169.254", "10.0.0.1", "0.0.0.0")]
)
SPELT = V4.flatmap(
    lambda ip: st.sampled_from(
        [
            str(ip),
            str(int(ip)),
            hex(int(ip)),
            oct(int(ip)).replace("0o", "0"),
            ".".join(f"0{part:o}" for part in ip.packed),
            f"{ip.packed[0]}.{int(ip) & 0xFFFFFF}",
            f"[::ffff:{ip}]",
            f"[64:ff9b::{ip}]",
            f"{ip}.nip.test",
            f"{ip}.",
        ]
    )
)
HOSTS = (
    SPELT
    | st.ip_addresses(v=6).map(lambda ip: f"[{ip}]")
    | shapes.TEXT
    | st.sampled_from(["localhost", "LOCALHOST.", "studio.test", "ⓛocalhost", "[::1]", "[::]", "①"])
)
ADDRESSES = st.builds(
    "{}{}{}{}{}".format,
    st.sampled_from(["http://", "http://", "https://", "HTTP://", "http:/", "http:\\\\", "//"]),
    st.sampled_from(["", "", "", "u:p@", "studio.test@", "studio.test:8080#@", "a@b@"]),
    HOSTS,
    st.sampled_from(["", ":80", ":8080", ":0", ":99999", ":", ":1.5", ":٣"]),
    st.sampled_from(["", "/a.png", "/../a", "/%2e%2e/a", "?a=http://127.0.0.1", "#@127.0.0.1"])
    | shapes.TEXT,
)
FOUND = st.sampled_from([["93.184.216.34"], ["2606:2800::1", "93.184.216.34"]]) | st.lists(
    st.ip_addresses().map(str), max_size=3
)
"""What a name resolves to."""


class Nowhere(httpcore2.NetworkBackend):
    """Remembers what was connected to, and connects to nothing."""

    def __init__(self):
        self.connected = []

    def connect_tcp(self, host, port, timeout=None, local_address=None, socket_options=None):
        self.connected.append(host)
        raise httpcore2.ConnectError("no network in this test")


@pytest.fixture(scope="module")
def nowhere():
    return Nowhere()


@pytest.fixture(scope="module")
def resolved():
    """What each name resolves to; a test puts something in."""
    return {}


@pytest.fixture(scope="module")
def fetcher(nowhere, resolved, tmp_path_factory):
    def resolve(host, port):
        try:
            return [str(ip_address(host.strip("[]")))]
        except ValueError:
            found = resolved.get("any")
            if not found:
                raise OSError("no such name") from None
            return found

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(transport.httpcore2, "SyncBackend", lambda: nowhere)
        root = tmp_path_factory.mktemp("root")
        made = Fetcher(Limits(fetch_timeout_s=1), AddressPolicy(), root, resolve=resolve)
    yield made
    made.close()


@tried(300)
@given(ADDRESSES, FOUND, st.booleans())
def test_only_public_addresses_and_label_studios_own_are_connected_to(
    fetcher, nowhere, resolved, uri, found, known
):
    resolved["any"] = found
    nowhere.connected.clear()
    studio = Origin(STUDIO) if known else None
    with contextlib.suppress(TaskError):
        fetcher.fetch(ImageReference(uri, task_id=1, label_studio=studio))
    event("connects" if nowhere.connected else "does not connect")
    private = [host for host in nowhere.connected if not is_public(ip_address(host))]
    assert not private or (known and "studio.test" in uri.lower())


@tried(300)
@given(shapes.URIS | st.text(max_size=40), shapes.TEXT, shapes.TEXT)
def test_an_address_that_cannot_be_had_is_a_reason_whatever_the_login(
    fetcher, resolved, uri, login, password
):
    resolved["any"] = ["192.0.2.1"]
    with contextlib.suppress(TaskError):
        data = fetcher.fetch(ImageReference(uri, login=login, password=password))
        assert uri.strip()[:5].lower() == "data:"
        assert isinstance(data, bytes)
