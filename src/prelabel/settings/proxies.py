"""Proxies of the environment, which HTTP libraries read by themselves."""

from importlib.util import find_spec
from urllib.request import getproxies

from prelabel.errors import SettingsError


def require_usable_proxies() -> None:
    """Refuse a proxy of a kind that nothing here can go through; any client would end with it.

    Raises:
        SettingsError: HTTP_PROXY, HTTPS_PROXY or ALL_PROXY names one.
    """
    proxies = getproxies()
    if "*" in proxies.get("no", "").split(","):
        return
    for kind, address in proxies.items():
        scheme = address.partition("://")[0].lower() if "://" in address else "http"
        is_usable = scheme in ("http", "https") or (
            scheme in ("socks5", "socks5h") and find_spec("socksio") is not None
        )
        if kind in ("http", "https", "all") and not is_usable:
            raise SettingsError(
                f"{kind.upper()}_PROXY",
                f"a proxy of the kind {scheme}:// cannot be used",
                "Set it to an http:// proxy, or unset it where prelabel runs; for socks5:// "
                "`pip install socksio` will do, too.",
            )
