from concurrent.futures import ThreadPoolExecutor

import httpx2
import pytest

from prelabel.errors import (
    LabelStudioUnreachable,
    LoginRefused,
    RequestRefused,
    SettingsError,
)
from prelabel.labelstudio_api.client import LabelStudio
from prelabel.labelstudio_api.login import (
    PasswordAuth,
    TokenAuth,
    TokenKind,
    login_with_password,
    token_kind,
)


@pytest.mark.parametrize("text", ["", "x" * 41, "two\nlines", "eyJhbGciOiJI.eyJ0b2tlbl90eXBl." * 3])
def test_what_is_no_token_is_refused_with_the_way_to_get_one(text):
    with pytest.raises(LoginRefused, match="personal access token under Account & Settings"):
        token_kind(text)


def test_half_of_a_personal_token_as_label_studio_lists_it_is_refused(tokens):
    with pytest.raises(LoginRefused, match="Copy the token whole"):
        token_kind(tokens.make("refresh").rpartition(".")[0])


def test_each_kind_of_token_is_told_by_its_looks(tokens):
    assert token_kind(tokens.legacy) is TokenKind.LEGACY
    assert token_kind("chosen-by-the-operator") is TokenKind.LEGACY
    assert token_kind(tokens.make("refresh")) is TokenKind.PERSONAL
    assert token_kind(tokens.make("access")) is TokenKind.ACCESS


@pytest.mark.parametrize("sub_path", ["", "/labels"])
def test_a_personal_token_is_exchanged_once_and_under_the_sub_path(fake, sub_path):
    fake.sub_path = sub_path
    with LabelStudio(f"{fake.url}{sub_path}/", token=fake.personal_token) as studio:
        assert studio.whoami()["email"] == "a@example.com"
        assert studio.version() == "1.23.2"
    assert fake.exchanges == 1


def test_an_access_token_is_sent_as_it_is(fake, tokens):
    access = tokens.make("access")
    fake.access_tokens.add(access)
    with LabelStudio(fake.url, token=access) as studio:
        studio.whoami()
    assert fake.exchanges == 0


def test_an_access_token_near_its_end_is_renewed_before_it_is_refused(fake, monkeypatch):
    now = [1000.0]
    monkeypatch.setattr("prelabel.labelstudio_api.login.time.monotonic", lambda: now[0])
    with LabelStudio(fake.url, token=fake.personal_token) as studio:
        studio.whoami()
        now[0] += 269
        studio.whoami()
        assert fake.exchanges == 1
        now[0] += 2
        studio.whoami()
    assert fake.exchanges == 2
    assert fake.count("GET", "/api/current-user/whoami") == 3


def test_clocks_that_disagree_do_not_matter(fake, monkeypatch):
    monkeypatch.setattr("prelabel.labelstudio_api.login.time.time", lambda: 0.0)
    with LabelStudio(fake.url, token=fake.personal_token) as studio:
        studio.whoami()
        studio.whoami()
    assert fake.exchanges == 1


def test_a_refused_access_token_is_renewed_once_for_all_threads(fake):
    with LabelStudio(fake.url, token=fake.personal_token) as studio:
        studio.whoami()
        fake.access_tokens.clear()  # as when Label Studio's key has changed
        with ThreadPoolExecutor(8) as threads:
            answers = list(threads.map(lambda _: studio.whoami(), range(32)))
    assert len(answers) == 32
    assert fake.exchanges == 2


def test_threads_that_start_together_share_one_exchange(fake):
    with (
        LabelStudio(fake.url, token=fake.personal_token) as studio,
        ThreadPoolExecutor(8) as threads,
    ):
        list(threads.map(lambda _: studio.whoami(), range(16)))
    assert fake.exchanges == 1


def test_a_revoked_personal_token_is_refused_and_named_nowhere(fake, tokens):
    revoked = tokens.make("refresh", 1e9)
    with (
        LabelStudio(fake.url, token=revoked) as studio,
        pytest.raises(LoginRefused, match="wrong, revoked or expired") as refused,
    ):
        studio.whoami()
    assert revoked not in str(refused.value)
    assert revoked not in repr(studio.auth)
    assert repr(studio.auth) == "TokenAuth(personal access token)"


def test_a_failed_exchange_leaves_the_lock_open(fake):
    fake.faults = [("POST", "/api/token/refresh/", 500, ())]
    with LabelStudio(fake.url, token=fake.personal_token) as studio:
        with pytest.raises(RequestRefused, match="busy"):
            studio.whoami()
        assert studio.whoami()


def test_a_switched_off_legacy_token_says_how_to_get_a_personal_one(fake, tokens):
    fake.legacy_allowed = False
    with (
        LabelStudio(fake.url, token=tokens.legacy) as studio,
        pytest.raises(LoginRefused, match="has been disabled") as refused,
    ):
        studio.whoami()
    assert "Create a personal access token" in refused.value.next_step
    assert tokens.legacy not in str(refused.value)


def test_an_asynchronous_client_is_told_instead_of_going_unsigned(fake, tokens):
    flow = TokenAuth(fake.url, tokens.legacy).async_auth_flow(httpx2.Request("GET", fake.url))
    with pytest.raises(TypeError, match=r"httpx2\.Client only"):
        flow.__anext__().send(None)


def test_a_name_and_password_log_in_once_and_again_when_the_session_ends(fake, tokens):
    with LabelStudio(fake.url, username=tokens.user, password=tokens.password) as studio:
        studio.whoami()
        studio.whoami()
        assert fake.logins == 1
        fake.sessions.clear()
        studio.whoami()
    assert fake.logins == 2


def test_a_session_survives_a_client_that_follows_redirects(fake, tokens):
    auth = PasswordAuth(fake.url, tokens.user, tokens.password)
    with httpx2.Client(auth=auth, follow_redirects=True) as http:
        assert http.get(f"{fake.url}/api/version/").json() == {"release": "1.23.2"}


def test_a_wrong_password_is_refused_and_named_nowhere(fake, tokens):
    with (
        LabelStudio(fake.url, username=tokens.user, password="guess") as studio,
        pytest.raises(LoginRefused, match="do not match") as refused,
    ):
        studio.whoami()
    assert "guess" not in str(refused.value) + repr(studio.auth)


def test_a_company_login_is_explained(fake, tokens):
    fake.has_login_form = False
    with pytest.raises(LoginRefused, match="SSO"):
        login_with_password(fake.url, tokens.user, tokens.password)


def test_a_login_makes_a_token_that_works(fake, tokens):
    fake.has_token = False
    token = login_with_password(fake.url, tokens.user, tokens.password)
    with LabelStudio(fake.url, token=token) as studio:
        assert studio.whoami()["email"] == tokens.user


def test_a_second_token_is_refused_unless_the_first_is_to_be_replaced(fake, tokens):
    with pytest.raises(LoginRefused, match="revoke it under Account & Settings"):
        login_with_password(fake.url, tokens.user, tokens.password)
    assert login_with_password(fake.url, tokens.user, tokens.password, replace=True)


def test_before_personal_tokens_a_login_gives_the_legacy_token(fake, tokens):
    fake.unknown.add(("POST", "/api/token/"))
    assert login_with_password(fake.url, tokens.user, tokens.password) == tokens.legacy


def test_a_login_at_a_closed_port_says_so():
    with pytest.raises(LabelStudioUnreachable, match="Check that Label Studio is running"):
        login_with_password("http://127.0.0.1:9", "a@example.com", "secret")


def test_nothing_to_sign_in_with_is_a_setting_that_is_missing():
    with pytest.raises(SettingsError, match="neither a token nor a user name"):
        LabelStudio("http://localhost:8080", username="a@example.com")
