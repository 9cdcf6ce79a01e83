"""A Label Studio that introduces itself in `/setup`, and how far its word is believed.

Label Studio sends its own address and a token with each set-up. Believing any address would let
every caller point prelabel at a private one. The address is believed where it is the caller's
own: its host must resolve to the address that the request came from, and to no other. That address,
and not the name, is what is fetched from, so that a name which changes gains nothing; an https
address keeps its name, which its certificate then vouches for.
"""

import ipaddress
import socket
from dataclasses import dataclass, field
from functools import lru_cache

from prelabel.errors import LoginRefused, SettingsError
from prelabel.labelstudio_api.login import TokenAuth
from prelabel.media.references import Origin, parse_url


@dataclass(frozen=True, slots=True)
class Introduction:
    """What a `/setup` request says of its sender.

    Attributes:
        url: Where it says Label Studio is.
        token: The token it handed over.
        caller: The address that the request came from.
    """

    url: str
    token: str = field(repr=False)
    caller: str

    def origin(self) -> Origin | None:
        """The Label Studio that introduced itself, or None where it is not to be believed.

        Looks the host up, so it may take seconds.
        """
        url = parse_url(self.url)
        if url is None:
            return None
        try:
            found = [row[4][0] for row in socket.getaddrinfo(url.host, None)]
            caller = ipaddress.ip_address(self.caller)
        except (OSError, ValueError):
            return None
        if not all(_same(ipaddress.ip_address(address), caller) for address in found):
            return None
        own = url if url.scheme == "https" else url.copy_with(host=str(found[0]))
        try:
            return Origin(str(own).rstrip("/"), self._auth(str(own)), (self.url.rstrip("/"),))
        except SettingsError:  # with a password or a query in it, it is no address to build on
            return None

    def _auth(self, url: str) -> TokenAuth | None:
        try:
            return TokenAuth(url, self.token) if self.token else None
        except LoginRefused:  # images that need no token can still be had
            return None


def believed_origin(introduction: Introduction) -> Origin | None:
    """The same, looked up once, so that its token is exchanged once and not for each request.

    One that is not believed is looked up anew each time: a name server may have been away.
    """
    try:
        return _believed(introduction)
    except _NotBelieved:
        return None


class _NotBelieved(Exception):
    """It is not; what is raised is not cached."""


@lru_cache(256)
def _believed(introduction: Introduction) -> Origin:
    origin = introduction.origin()
    if origin is None:
        raise _NotBelieved
    return origin


def _same(
    address: ipaddress.IPv4Address | ipaddress.IPv6Address,
    caller: ipaddress.IPv4Address | ipaddress.IPv6Address,
) -> bool:
    return address == caller or (address.is_loopback and caller.is_loopback)
