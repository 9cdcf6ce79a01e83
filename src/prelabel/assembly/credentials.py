"""What a prelabel server asks of those who call it, as the settings have it."""

import httpx2

from prelabel.settings import Settings


def credentials(settings: Settings) -> httpx2.Auth | None:
    """What the backend asks for: a user and password or a token, where the settings have them."""
    if settings.basic_auth_user:
        password = settings.basic_auth_pass.get_secret_value()
        return httpx2.BasicAuth(settings.basic_auth_user, password)
    token = settings.api_token.get_secret_value()

    def sign(request: httpx2.Request) -> httpx2.Request:
        request.headers["Authorization"] = f"Bearer {token}"
        return request

    return httpx2.FunctionAuth(sign) if token else None
