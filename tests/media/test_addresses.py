"""Which addresses may be fetched, and that nothing gets around it."""

from ipaddress import IPv4Address, IPv6Address, ip_address

import httpx2
import pytest
from hypothesis import given
from hypothesis import strategies as st

from prelabel.errors import SettingsError
from prelabel.media.addresses import AddressPolicy, AddressRefused, is_public, resolve_host

PUBLIC = ["93.184.216.34", "8.8.8.8", "2606:4700::1111", "::ffff:8.8.8.8", "64:ff9b::808:808"]
NOT_PUBLIC = [
    "0.0.0.0",
    "0.1.2.3",
    "10.1.2.3",
    "100.64.0.1",
    "100.100.100.200",
    "127.0.0.1",
    "127.8.8.8",
    "168.63.129.16",
    "169.254.169.254",
    "172.16.0.1",
    "192.0.0.192",
    "192.168.1.1",
    "198.18.0.1",
    "203.0.113.1",
    "224.0.0.1",
    "240.0.0.1",
    "255.255.255.255",
    "::",
    "::1",
    "::127.0.0.1",
    "::ffff:127.0.0.1",
    "::ffff:10.0.0.1",
    "2001:db8::1",
    "2001:0:4136:e378:8000:63bf:f5ff:fffe",  # Teredo with the client 10.0.0.1
    "2002:7f00:1::",  # 6to4 of 127.0.0.1
    "2002:a00:1::",
    "64:ff9b::7f00:1",  # NAT64 of 127.0.0.1
    "64:ff9b::a9fe:a9fe",
    "64:ff9b:1::1",
    "fc00::1",
    "fd00:ec2::254",
    "fe80::1",
    "fe80::1%eth0",
    "fec0::1",
    "ff02::1",
]


def require(policy, url, *addresses, trusted=()):
    policy.require(httpx2.URL(url), addresses, [httpx2.Origin(origin) for origin in trusted])


@pytest.mark.parametrize("address", PUBLIC)
def test_public_addresses_are_fetched(address):
    require(AddressPolicy(), "http://example.org/", address)


@pytest.mark.parametrize("address", NOT_PUBLIC)
def test_addresses_that_are_not_public_are_refused(address):
    with pytest.raises(AddressRefused, match="not a public address"):
        require(AddressPolicy(), "http://example.org/", address)


def test_the_next_step_keeps_the_hosts_that_are_allowed_already():
    with pytest.raises(AddressRefused) as first:
        require(AddressPolicy(), "http://10.0.0.7/", "10.0.0.7")
    assert first.value.cause == "10.0.0.7 is not a public address"
    assert first.value.next_step.startswith("Set FETCH_ALLOWED_HOSTS=10.0.0.7 if")
    with pytest.raises(AddressRefused) as second:
        require(AddressPolicy(("minio",)), "http://files/", "10.0.0.7")
    assert second.value.cause == "files is at 10.0.0.7, which is not a public address"
    assert second.value.next_step.startswith("Add files to FETCH_ALLOWED_HOSTS if")


@given(st.ip_addresses(v=4))
def test_an_ipv4_address_inside_an_ipv6_address_is_as_public_as_itself(inner):
    mapped = IPv6Address(b"\0" * 10 + b"\xff\xff" + inner.packed)
    nat64 = IPv6Address(bytes.fromhex("0064ff9b0000000000000000") + inner.packed)
    sixtofour = IPv6Address(bytes.fromhex("2002") + inner.packed + b"\0" * 10)
    assert is_public(mapped) == is_public(nat64) == is_public(inner)
    assert is_public(inner) or not is_public(sixtofour)


@given(st.ip_addresses())
def test_nothing_private_by_the_standard_library_is_public(address):
    if address.is_loopback or address.is_link_local or address.is_unspecified:
        assert not is_public(address)
    if isinstance(address, IPv4Address) and address.is_private:
        assert not is_public(address)


def test_one_private_address_among_public_ones_is_enough_to_refuse():
    with pytest.raises(AddressRefused, match=r"10\.0\.0\.1"):
        require(AddressPolicy(), "http://example.org/", "8.8.8.8", "10.0.0.1")


@pytest.mark.parametrize(
    ("entry", "url", "address"),
    [
        ("minio", "http://minio:9000/a.png", "10.0.0.1"),
        ("MinIO", "http://minio./a.png", "127.0.0.1"),
        ("10.0.0.1", "http://elsewhere/a.png", "10.0.0.1"),
        ("10.0.0.1", "http://elsewhere/a.png", "::ffff:10.0.0.1"),
        ("10.0.0.0/8", "http://elsewhere/a.png", "10.9.9.9"),
        ("10.0.0.7/8", "http://elsewhere/a.png", "10.9.9.9"),
        ("fd00::/8", "http://[fd00::2]/a.png", "fd00::2"),
        ("[::1]", "http://[::1]/a.png", "::1"),
    ],
)
def test_an_allowed_host_address_or_network_is_fetched(entry, url, address):
    with pytest.raises(AddressRefused):
        require(AddressPolicy(), url, address)
    require(AddressPolicy((entry,)), url, address)


@pytest.mark.parametrize("entry", ["", "10.0.0.0/99", "http://minio", "minio:9000", "a b"])
def test_an_entry_that_allows_nothing_is_a_mistake_in_the_settings(entry):
    with pytest.raises(SettingsError, match="FETCH_ALLOWED_HOSTS"):
        AddressPolicy((entry,))


def test_a_trusted_origin_is_fetched_and_its_neighbours_are_not():
    policy = AddressPolicy()
    require(policy, "http://studio:8080/a", "10.0.0.1", trusted=["http://studio:8080"])
    for other in ("http://studio:8081/a", "https://studio:8080/a", "http://studio2:8080/a"):
        with pytest.raises(AddressRefused):
            require(policy, other, "10.0.0.1", trusted=["http://studio:8080"])


@pytest.mark.parametrize(
    ("url", "why"),
    [
        ("ftp://example.org/a", "only http and https"),
        ("http:///a", "with a host"),
        ("http://user:secret@example.org/a", "user name or password"),
        ("http://user@example.org/a", "user name or password"),
    ],
)
def test_a_url_of_a_wrong_form_is_refused(url, why):
    with pytest.raises(AddressRefused, match=why) as caught:
        require(AddressPolicy(("example.org",)), url, "8.8.8.8")
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize("spelling", ["2130706433", "0x7f000001", "127.1", "localhost"])
def test_other_spellings_of_loopback_resolve_to_it_and_are_refused(spelling):
    found = resolve_host(spelling, 80)
    assert all(ip_address(address).is_loopback for address in found)
    with pytest.raises(AddressRefused):
        require(AddressPolicy(), f"http://{spelling}/", *found)
