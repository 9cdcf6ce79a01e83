"""Which network addresses an image may be fetched from."""

import socket
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from ipaddress import (
    IPv4Address,
    IPv4Network,
    IPv6Address,
    IPv6Network,
    ip_address,
    ip_network,
)

import httpx2

from prelabel.errors import SettingsError

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network

NOT_PUBLIC = tuple(
    ip_network(text)
    for text in (
        # Global by the flags of `ipaddress` in some Python 3.11 releases, yet none is the internet.
        "100.64.0.0/10",  # carrier-grade NAT (RFC 6598)
        "168.63.129.16/32",  # Azure's platform services, public in form only
        "192.0.0.0/24",  # IETF protocol assignments (RFC 6890); Oracle's metadata service
        "192.88.99.0/24",  # 6to4 relays (RFC 7526)
        "64:ff9b:1::/48",  # local-use NAT64 (RFC 8215)
        "fec0::/10",  # site-local (RFC 3879)
    )
)
NAT64 = IPv6Network("64:ff9b::/96")  # RFC 6052


class AddressRefused(Exception):
    """An address that may not be fetched, with why and what to do about it."""

    def __init__(self, cause: str, next_step: str) -> None:
        super().__init__(cause, next_step)
        self.cause = cause
        self.next_step = next_step


@dataclass(frozen=True, slots=True)
class AddressPolicy:
    """Public addresses, and whatever is named here.

    Attributes:
        allowed: Host names, IP addresses and networks (CIDR) that may be fetched although they
            are not public. A host name allows whatever it resolves to.
        local_only: Nothing else may be fetched, public or not, and no other name is looked up:
            what a name server is asked leaves the machine too.

    Raises:
        SettingsError: An entry is none of the three.
    """

    allowed: tuple[str, ...] = ()
    local_only: bool = False
    _hosts: frozenset[str] = field(init=False, repr=False, compare=False)
    _networks: tuple[Network, ...] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        hosts, networks = set(), []
        for entry in self.allowed:
            try:
                networks.append(ip_network(entry.strip("[]"), strict=False))
            except ValueError as error:
                if not entry or set(entry) & set("/:@ "):
                    raise SettingsError(
                        f"FETCH_ALLOWED_HOSTS entry {entry!r}",
                        "it is no host name, IP address or network",
                        "Give bare names such as minio, addresses, or networks as 10.0.0.0/8.",
                    ) from error
                hosts.add(entry.lower().rstrip("."))
        object.__setattr__(self, "_hosts", frozenset(hosts))
        object.__setattr__(self, "_networks", tuple(networks))

    def require_form(self, url: httpx2.URL) -> None:
        """Refuse a URL whose form alone rules it out, before any name is looked up.

        Raises:
            AddressRefused: Not http(s), no host, or with a user name or password in it.
        """
        if url.scheme not in ("http", "https") or not url.host:
            raise AddressRefused(
                "only http and https addresses with a host are fetched",
                "Give the image an http(s) address, or upload it to Label Studio.",
            )
        if url.userinfo:
            raise AddressRefused(
                "the address carries a user name or password",
                "Take them out of the address and enter them as the project's task data "
                "credentials in Label Studio.",
            )

    def require_named(self, url: httpx2.URL, trusted: Collection[httpx2.Origin] = ()) -> None:
        """Where nothing may leave the machine, refuse what is not named, before any look-up.

        Args:
            url: What is to be fetched.
            trusted: Origins that are fetched wherever they are: Label Studio's own.

        Raises:
            AddressRefused: With the setting that would allow it.
        """
        if not self.local_only or self._names(url, trusted):
            return
        try:
            listed = self._lists(_plain(ip_address(url.host)))
        except ValueError:  # a name, or an odd spelling of an address, which nobody needs
            listed = False
        if not listed:
            raise AddressRefused(
                f"LOCAL_DATA_ONLY keeps data on this machine, and {url.host} is not named",
                f"{self._naming(url.host)} if data may go there.",
            )

    def require(
        self, url: httpx2.URL, addresses: Sequence[str], trusted: Collection[httpx2.Origin] = ()
    ) -> None:
        """Refuse a URL unless each address that its host resolves to may be fetched.

        One forbidden address among several is enough to refuse: a name that mixes public and
        private addresses is set up wrongly or meant to deceive.

        Args:
            url: What is to be fetched.
            addresses: What its host resolves to. They decide, so that decimal, octal or
                hexadecimal spellings of an address gain nothing.
            trusted: Origins that are fetched wherever they are: Label Studio's own.

        Raises:
            AddressRefused: With the address and the setting that would allow it.
        """
        self.require_form(url)
        if self._names(url, trusted):
            return
        for text in addresses:
            address = _plain(ip_address(text))
            if not is_public(address) and not self._lists(address):
                where = "" if url.host == str(address) else f"at {address}, which is "
                raise AddressRefused(
                    f"{url.host} is {where}not a public address",
                    f"{self._naming(url.host)} if images are kept there.",
                )

    def _naming(self, host: str) -> str:
        """What allows a host, and keeps those that are allowed."""
        if self.allowed:
            return f"Add {host} to FETCH_ALLOWED_HOSTS"
        return f"Set FETCH_ALLOWED_HOSTS={host}"

    def _names(self, url: httpx2.URL, trusted: Collection[httpx2.Origin]) -> bool:
        return httpx2.Origin(url) in trusted or url.host.lower().rstrip(".") in self._hosts

    def _lists(self, address: Address) -> bool:
        return any(
            address.version == network.version and address in network for network in self._networks
        )


def is_public(address: Address) -> bool:
    """Whether an address, and each IPv4 address carried inside it, is on the open internet."""
    address = _plain(address)
    if any(address.version == net.version and address in net for net in NOT_PUBLIC):
        return False
    if isinstance(address, IPv6Address):
        if address in NAT64:
            return is_public(IPv4Address(int(address) & 0xFFFF_FFFF))
        carried = [address.sixtofour, *(address.teredo or ())]
        if not all(is_public(inner) for inner in carried if inner is not None):
            return False
    return address.is_global and not address.is_multicast and not address.is_reserved


def resolve_host(host: str, port: int) -> list[str]:
    """Addresses of a host, as the system's resolver orders them.

    Raises:
        OSError: The name does not resolve.
    """
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(entry[4][0]) for entry in found))


def _plain(address: Address) -> Address:
    """The IPv4 address behind an IPv4-mapped IPv6 address, else the address itself."""
    mapped = address.ipv4_mapped if isinstance(address, IPv6Address) else None
    return mapped or address
