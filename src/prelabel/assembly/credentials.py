"""What a prelabel server asks of those who call it, as the settings have it."""

from collections.abc import Generator

import httpx2

from prelabel.settings import Settings


def credentials(settings: Settings) -> httpx2.Auth | None:
    """What the backend asks for: a user and password or a token, where the settings have them."""
    if settings.basic_auth_user:
        password = settings.basic_auth_pass.get_secret_value()
        return httpx2.BasicAuth(settings.basic_auth_user, password)
    token = settings.api_token.get_secret_value()
    return _Bearer(token) if token else None


class _Bearer(httpx2.Auth):
    """Signs requests with a token."""

    def __init__(self, token: str) -> None:
        self._token = token

    def auth_flow(
        self, request: httpx2.Request
    ) -> Generator[httpx2.Request, httpx2.Response, None]:
        request.headers["Authorization"] = f"Bearer {self._token}"
        yield request
