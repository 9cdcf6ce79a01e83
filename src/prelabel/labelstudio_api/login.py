"""Signing requests to Label Studio: with any kind of token, or with a name and a password.

Both classes sign whatever request they are given. Whoever uses them outside this client must
give them requests to Label Studio's own address only.
"""

import base64
import enum
import html
import json
import re
import threading
import time
from collections.abc import Generator
from http import HTTPStatus
from typing import Any, TypeAlias

import httpx2

from prelabel.errors import LoginRefused, SettingsError
from prelabel.labelstudio_api.refusals import (
    HOW_TO_SIGN_IN,
    base_address,
    not_json,
    refusal,
    unreachable,
)

Flow: TypeAlias = Generator[httpx2.Request, httpx2.Response, None]

_LEEWAY_S = 30.0
_LONGEST_LEGACY_TOKEN = 40
_CSRF_FIELD = re.compile(r'name="csrfmiddlewaretoken"\s+value="([^"]+)"')


class TokenKind(enum.Enum):
    """The kinds of token that Label Studio knows."""

    LEGACY = "legacy token"
    PERSONAL = "personal access token"
    ACCESS = "access token"


def token_kind(token: str) -> TokenKind:
    """Tell the kind of a token from its looks.

    Raises:
        LoginRefused: It is no token at all, or only a part of one.
    """
    # One that was broken into lines would be quoted, whole, by the error of the HTTP library.
    claims = _claims(token) if token.isascii() and token.isprintable() else {}
    if claims:
        personal = claims.get("token_type") == "refresh"
        return TokenKind.PERSONAL if personal else TokenKind.ACCESS
    # Legacy tokens are 40 hex digits, or what LABEL_STUDIO_USER_TOKEN says, at most as long.
    if 0 < len(token) <= _LONGEST_LEGACY_TOKEN and token.isascii() and token.isprintable():
        return TokenKind.LEGACY
    raise LoginRefused(
        "the token",
        "it is neither a legacy token nor a whole personal access token",
        "Copy the token whole: Label Studio shows all of it only once, when it is created. "
        + HOW_TO_SIGN_IN,
    )


def _claims(token: str) -> dict[str, Any]:
    """What a JSON web token says of itself, unchecked; empty for anything else."""
    parts = token.split(".")
    if len(parts) != 3:  # noqa: PLR2004 - header, payload, signature
        return {}
    try:
        payload = base64.urlsafe_b64decode(parts[1] + "=" * (-len(parts[1]) % 4))
        claims = json.loads(payload)
    except ValueError:
        return {}
    return claims if isinstance(claims, dict) else {}


class _SyncAuth(httpx2.Auth):
    """Signs requests of synchronous clients, under a lock that no coroutine may wait for."""

    def auth_flow(self, request: httpx2.Request) -> Flow:
        """Refuse asynchronous clients, which would come here."""
        raise TypeError(f"{self!r} signs requests of httpx2.Client only, not {request.url}")


class TokenAuth(_SyncAuth):
    """Signs requests with a token of any kind, which it tells apart by itself.

    A personal access token is exchanged for an access token, which Label Studio lets live for
    five minutes; it is renewed shortly before its end, and once more when it is refused. The
    exchange goes through the client that is being signed for. Safe to share between threads.

    Args:
        url: Label Studio's address, with its sub-path if it has one.
        token: A legacy token, a personal access token or an access token.

    Raises:
        LoginRefused: It is no token; later, from a request: the exchange was refused.
    """

    def __init__(self, url: str, token: str) -> None:
        self._refresh_url = f"{base_address(url)}/api/token/refresh/"
        self._token = token.strip()
        self._kind = token_kind(self._token)
        self._lock = threading.Lock()
        self._access = ""
        self._renew_at = 0.0

    def __repr__(self) -> str:
        return f"TokenAuth({self._kind.value})"

    def sync_auth_flow(self, request: httpx2.Request) -> Flow:
        """Sign a request, exchanging the token first where that is due."""
        if self._kind is not TokenKind.PERSONAL:
            word = "Token" if self._kind is TokenKind.LEGACY else "Bearer"
            request.headers["Authorization"] = f"{word} {self._token}"
            yield request
            return
        access = yield from self._exchanged(request, refused="")
        request.headers["Authorization"] = f"Bearer {access}"
        response = yield request
        if response.status_code == HTTPStatus.UNAUTHORIZED:
            access = yield from self._exchanged(request, refused=access)
            request.headers["Authorization"] = f"Bearer {access}"
            yield request

    def _exchanged(
        self, request: httpx2.Request, refused: str
    ) -> Generator[httpx2.Request, httpx2.Response, str]:
        """An access token that is still good and is not the one that was just refused."""
        with self._lock:
            if self._access == refused or time.monotonic() >= self._renew_at:
                exchange = _like(request, "POST", self._refresh_url, json={"refresh": self._token})
                self._accept((yield exchange))
            return self._access

    def _accept(self, response: httpx2.Response) -> None:
        response.read()
        if response.status_code == HTTPStatus.UNAUTHORIZED:
            raise LoginRefused(
                self._refresh_url,
                "the personal access token is wrong, revoked or expired",
                HOW_TO_SIGN_IN,
            )
        if not response.is_success:
            raise refusal(response)
        access = _json_field(response, "access")
        claims = _claims(access)
        # Only the difference of its two times counts, so that clocks may disagree.
        lifetime_s = float(claims.get("exp", 0) - claims.get("iat", 0))
        self._access = access
        self._renew_at = time.monotonic() + lifetime_s - min(_LEEWAY_S, lifetime_s / 2)


class PasswordAuth(_SyncAuth):
    """Signs requests with a session, as a browser does after its login page.

    It leaves nothing behind in Label Studio, and works where a personal access token exists
    already, of which there can be one per user. Safe to share between threads.

    Args:
        url: Label Studio's address, with its sub-path if it has one.
        username: The e-mail address to log in with.
        password: Its password.
    """

    def __init__(self, url: str, username: str, password: str) -> None:
        self._url = base_address(url)
        self._login_url = f"{self._url}/user/login/"
        self._form = {"email": username, "password": password}
        self._lock = threading.Lock()
        self._session: dict[str, str] = {}

    def __repr__(self) -> str:
        return "PasswordAuth()"

    def sync_auth_flow(self, request: httpx2.Request) -> Flow:
        """Sign a request, logging in first where that is due."""
        session = yield from self._logged_in(request, refused={})
        self._sign(request, session)
        response = yield request
        if response.status_code == HTTPStatus.UNAUTHORIZED:
            session = yield from self._logged_in(request, refused=session)
            self._sign(request, session)
            yield request

    def _sign(self, request: httpx2.Request, cookies: dict[str, str]) -> None:
        request.headers["Cookie"] = "; ".join(f"{name}={cookies[name]}" for name in cookies)
        request.headers["Referer"] = self._login_url  # Django wants it beside the CSRF token
        request.headers["X-CSRFToken"] = cookies.get("csrftoken", "")

    def _logged_in(
        self, request: httpx2.Request, refused: dict[str, str]
    ) -> Generator[httpx2.Request, httpx2.Response, dict[str, str]]:
        """The cookies of a session that is not the one that was just refused."""
        with self._lock:
            if self._session == refused:
                page = yield _like(request, "GET", self._login_url)
                page.read()
                if page.has_redirect_location:
                    raise not_json(page)
                field = _CSRF_FIELD.search(page.text)
                if not page.is_success or not field:
                    raise self._no_login_form()
                form = {**self._form, "csrfmiddlewaretoken": html.unescape(field[1])}
                post = _like(request, "POST", self._login_url, data=form)
                self._sign(post, _cookies(page))
                answer = yield post
                answer.read()
                self._session = self._accept(answer)
            return self._session

    def _accept(self, answer: httpx2.Response) -> dict[str, str]:
        # Everyone gets a session; only who is let in is sent on from the form.
        steps = [*answer.history, answer]
        if any(step.has_redirect_location and step.request.method == "POST" for step in steps):
            return _cookies(answer)
        if answer.is_success:
            raise LoginRefused(
                self._login_url,
                "the user name and the password do not match",
                f"Check both. Who has no account makes one at {self._url}/user/signup/; where "
                "sign-up is switched off, an owner sends an invitation link.",
            )
        if answer.status_code == HTTPStatus.FORBIDDEN:
            raise self._no_login_form()
        raise refusal(answer)

    def _no_login_form(self) -> LoginRefused:
        return LoginRefused(
            self._login_url,
            "there is no login with user name and password here",
            "Where people come in through a company login (SSO), log in with the browser. "
            + HOW_TO_SIGN_IN,
        )


def auth_for(
    url: str, *, token: str | None, username: str | None, password: str | None
) -> httpx2.Auth:
    """The way to sign requests with what is at hand; a token goes before a password.

    Raises:
        SettingsError: Neither is given.
        LoginRefused: The token is none.
    """
    if token and token.strip():
        return TokenAuth(url, token)
    if username and password:
        return PasswordAuth(url, username, password)
    raise SettingsError(
        f"Label Studio at {url}",
        "neither a token nor a user name with a password is given",
        HOW_TO_SIGN_IN,
    )


def login_with_password(url: str, username: str, password: str, *, replace: bool = False) -> str:
    """Log in without a browser and create a personal access token.

    Label Studio before 1.17 has none: there it is the legacy token of the user, as it is.

    Args:
        url: Label Studio's address, with its sub-path if it has one.
        username: The e-mail address to log in with.
        password: Its password.
        replace: Revoke the token that the user has, where there is one.

    Returns:
        A token that does not expire; Label Studio never shows a personal one again.

    Raises:
        LoginRefused: The login was refused, or there is a token already: Label Studio allows
            one per user and lists it without its signature.
        LabelStudioUnreachable: There was no answer.
        RequestRefused: The organization does not allow personal access tokens.
    """
    url = base_address(url)
    tokens_url = f"{url}/api/token/"
    with httpx2.Client(auth=PasswordAuth(url, username, password), timeout=30.0) as http:
        try:
            answer = http.post(tokens_url)
            if answer.status_code == HTTPStatus.CONFLICT and replace:
                for listed in _tokens(http.get(tokens_url)):
                    http.post(f"{tokens_url}blacklist/", json={"refresh": listed})
                answer = http.post(tokens_url)
            elif answer.status_code == HTTPStatus.NOT_FOUND:
                answer = http.get(f"{url}/api/current-user/token")
        except httpx2.RequestError as error:
            raise unreachable(url, error) from error
    if answer.status_code == HTTPStatus.CONFLICT:
        raise LoginRefused(
            tokens_url,
            "this user has a personal access token already, which Label Studio shows only once",
            "Use that token, or revoke it under Account & Settings and run this again.",
        )
    if not answer.is_success:
        raise refusal(answer)
    return _json_field(answer, "token")


def _tokens(response: httpx2.Response) -> list[str]:
    if not response.is_success:
        raise refusal(response)
    return [str(listed["token"]) for listed in response.json()]


def _json_field(response: httpx2.Response, field: str) -> str:
    try:
        return str(response.json()[field])
    except (ValueError, KeyError, TypeError) as error:
        raise not_json(response) from error


def _like(request: httpx2.Request, method: str, url: str, **content: Any) -> httpx2.Request:
    """A request that keeps to the time-outs of the one it is made for."""
    timeout = request.extensions.get("timeout", {})
    return httpx2.Request(method, url, extensions={"timeout": timeout}, **content)


def _cookies(response: httpx2.Response) -> dict[str, str]:
    """The cookies that an answer, and the redirects on the way to it, set."""
    cookies: dict[str, str] = {}
    for step in [*response.history, response]:
        cookies.update(step.cookies)
    return cookies
