"""Who may call, how often, by which name, and from which page."""

import asyncio

import pytest
from fastapi.testclient import TestClient
from tests.server.conftest import basic
from uvicorn.middleware.proxy_headers import ProxyHeadersMiddleware

from prelabel.errors import SettingsError
from prelabel.server import guard
from prelabel.server.guard import Credentials, Guard
from prelabel.settings import Settings, load

OPEN = {"/live", "/ready"}
LOCKED = {"basic_auth_user": "ann", "basic_auth_pass": "right"}
PAGE = {"Origin": "https://evil.example", "Sec-Fetch-Site": "cross-site"}


def coming_from(client, address):
    """The same server as another caller sees it."""
    return TestClient(client.app, client=(address, 40_000), raise_server_exceptions=False)


def routes_of(app):
    found = {(m, p) for p, ways in app.openapi()["paths"].items() for m in ways}
    return sorted({*found, ("get", "/openapi.json"), ("get", "/docs"), ("get", "/redoc")})


def test_no_route_answers_without_the_password_but_the_probes(app_server):
    client = app_server(**LOCKED)
    for method, path in routes_of(client.app):
        answer = client.request(method.upper(), path.replace("{job_id}", "1"))
        assert (answer.status_code == 401) == (path not in OPEN), path


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("OPTIONS", "/predict"),
        ("HEAD", "/health"),
        ("TRACE", "/health"),
        ("PROPFIND", "/"),
        ("GET", "//live/../health"),
        ("GET", "/live/../health"),
        ("GET", "/live%2f..%2fhealth"),
        ("GET", "/LIVE"),
        ("GET", "/live/"),
        ("GET", "/live;/health"),
        ("GET", "/health%00"),
    ],
)
def test_neither_method_nor_spelling_of_a_path_gets_around_the_password(app_server, method, path):
    client = app_server(**LOCKED)
    assert client.request(method, path).status_code == 401


@pytest.mark.parametrize("header", ["X-HTTP-Method-Override", "X-Method-Override", "X-HTTP-Method"])
def test_a_method_cannot_be_overridden(app_server, header):
    client = app_server()
    assert client.get("/predict", headers={header: "POST"}).status_code == 405


@pytest.mark.parametrize(
    "path", ["/s3cretx/health", "/s3cre/health", "/S3CRET/health", "/health/s3cret", "/?s3cret"]
)
def test_only_the_whole_secret_path_opens(app_server, path):
    client = app_server(secret_path="s3cret")
    assert client.get(path).status_code == 401
    assert client.get("/s3cret/health").status_code == 200


def test_credentials_of_any_bytes_are_wrong_and_no_crash():
    locked = Credentials(user="ann", password="pä55", token="töken")
    for header in ("", "Basic", "Basic ", "Basic ====", "Basic \xff\xfe", "Bearer", "Bearer \x00"):
        assert not locked.accept(header)
    assert locked.accept(basic("ann", "pä55")["Authorization"])


def test_passwords_are_compared_in_constant_time(monkeypatch):
    compared = []
    monkeypatch.setattr(
        guard.hmac, "compare_digest", lambda *pair: compared.append(pair) or pair[0] == pair[1]
    )
    locked = Credentials(user="ann", password="pw", token="token", path="path")
    assert locked.accept("Bearer token")
    assert locked.accept(basic("ann", "pw")["Authorization"])
    assert len(compared) == 2


def test_guessing_ends_after_a_minutes_worth_and_costs_nobody_else_anything(app_server):
    client = app_server(**LOCKED)
    attacker, other = coming_from(client, "203.0.113.9"), coming_from(client, "203.0.113.10")
    statuses = [
        attacker.get("/metrics", headers=basic("ann", f"guess {number}")).status_code
        for number in range(65)
    ]
    assert statuses == [401] * 60 + [429] * 5
    right = attacker.get("/metrics", headers=basic("ann", "right"))
    assert right.status_code == 429  # or a guesser would know that it is
    assert 1 <= int(right.headers["Retry-After"]) <= 60
    # Label Studio would wait for as long as it is told, inside a person's click.
    soon = attacker.get("/health", headers=basic("ann", "right"))
    assert (soon.status_code, soon.headers.get("Retry-After")) == (401, None)
    assert attacker.get("/live").status_code == 200
    assert other.get("/health", headers=basic("ann", "right")).status_code == 200


def test_who_was_let_in_before_is_not_kept_out_by_one_who_guesses_beside_it(app_server):
    client = app_server(**LOCKED)
    assert client.get("/health", headers=basic("ann", "right")).status_code == 200
    for number in range(65):
        client.get("/metrics", headers=basic("ann", f"guess {number}"))
    for path in ("/health", "/metrics"):
        assert client.get(path, headers=basic("ann", "right")).status_code == 200


def test_webhooks_that_show_no_password_do_not_count_as_guesses(app_server):
    client = app_server(**LOCKED)
    assert {client.post("/webhook", json={}).status_code for _ in range(70)} == {401}
    assert client.get("/health", headers=basic("ann", "right")).status_code == 200


def test_a_whole_ipv6_network_is_one_caller(app_server):
    client = app_server(rate_limit="2/minute")
    ask = [
        coming_from(client, address).get("/metrics").status_code
        for address in ("2001:db8::1", "2001:db8::2", "2001:db8:0:0:ffff::3", "2001:db8:0:1::1")
    ]
    assert ask == [200, 200, 429, 200]


def test_an_ipv4_caller_is_the_same_on_a_socket_of_both_kinds(app_server):
    client = app_server(rate_limit="1/minute")
    assert coming_from(client, "::ffff:203.0.113.9").get("/metrics").status_code == 200
    assert coming_from(client, "::ffff:203.0.113.8").get("/metrics").status_code == 200
    assert coming_from(client, "203.0.113.9").get("/metrics").status_code == 429


def test_probes_are_never_put_off(app_server):
    client = app_server(rate_limit="1/minute")
    assert client.get("/metrics").status_code == 200
    put_off = client.get("/metrics")
    assert put_off.status_code == 429
    assert int(put_off.headers["Retry-After"]) >= 1
    for path in ("/live", "/ready", "/health", "/versions"):
        assert [client.get(path).status_code for _ in range(3)] == [200] * 3


def behind_proxies(client, peer, **settings):
    """The server as uvicorn wraps it, called by a peer."""
    trusted = Settings(_env_file=None, **settings).proxies
    return TestClient(ProxyHeadersMiddleware(client.app, trusted), client=(peer, 40_000))


@pytest.mark.parametrize(
    ("peer", "allowed", "statuses"),
    [
        # What the proxy on this machine says of its callers counts: each has a rate of its own.
        ("127.0.0.1", {}, [200, 200, 200]),
        ("10.0.0.7", {"forwarded_allow_ips": "10.0.0.0/8"}, [200, 200, 200]),
        # What anybody else says of himself does not.
        ("203.0.113.9", {}, [200, 429, 429]),
        ("203.0.113.9", {"forwarded_allow_ips": "10.0.0.0/8"}, [200, 429, 429]),
    ],
)
def test_a_forged_sender_does_not_get_around_the_rate(app_server, peer, allowed, statuses):
    proxied = behind_proxies(app_server(rate_limit="1/minute"), peer, **allowed)
    asked = [
        proxied.get("/metrics", headers={"X-Forwarded-For": f"198.51.100.{number}"})
        for number in range(3)
    ]
    assert [answer.status_code for answer in asked] == statuses


@pytest.mark.parametrize("believed", ["127.0.0.1", "*", "10.0.0.1, *"])
def test_what_a_caller_writes_in_front_of_the_proxys_word_does_not_count(app_server, believed):
    settings = {"forwarded_allow_ips": believed}
    proxied = behind_proxies(app_server(rate_limit="1/minute", **settings), "127.0.0.1", **settings)
    other = proxied.get("/metrics", headers={"X-Forwarded-For": "203.0.113.9, 203.0.113.8"})
    assert other.status_code == 200
    asked = [
        proxied.get("/metrics", headers={"X-Forwarded-For": f"198.51.100.{number}, 203.0.113.9"})
        for number in range(2)
    ]
    assert [answer.status_code for answer in asked] == [200, 429]


@pytest.mark.parametrize("path", ["/predict", "/train", "/webhook", "/setup", "/jobs/1/cancel"])
def test_a_page_of_another_site_changes_nothing(app_server, path):
    client = app_server()
    plain = {"Content-Type": "text/plain"}  # what a page may send without asking first
    assert client.post(path, content=b"{}", headers=PAGE | plain).status_code == 403
    named = {"Origin": "http://evil.example"}  # plain http: no Sec-Fetch-Site comes along
    assert client.post(path, content=b"{}", headers=named | plain).status_code == 403


def test_a_page_that_is_named_and_programs_may_call(app_server):
    client = app_server(cors_origins="https://tools.example")
    tools = {"Origin": "https://tools.example", "Sec-Fetch-Site": "cross-site"}
    task = {"tasks": [{"id": 1, "data": {"image": "a"}}]}
    assert client.post("/predict", json=task, headers=tools).status_code == 200
    assert client.post("/predict", json=task).status_code == 200
    assert client.post("/predict", json=task, headers=PAGE).status_code == 403


@pytest.mark.parametrize("origins", ["https://tools.example", "*"])
def test_no_origin_is_ever_allowed_to_bring_a_browsers_password(app_server, origins):
    client = app_server(cors_origins=origins)
    for origin in ("https://tools.example", "https://evil.example", "null"):
        headers = client.get("/live", headers={"Origin": origin}).headers
        assert "access-control-allow-credentials" not in headers
        allowed = headers.get("access-control-allow-origin")
        assert allowed in ("*", None) if origins == "*" else allowed in (origins, None)
        assert origin != "https://evil.example" or allowed != origin


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("localhost:9090", 200),
        ("127.0.0.1:9090", 200),
        ("[::1]:9090", 200),
        ("ml-backend:9090", 200),
        ("host.docker.internal:9090", 200),
        ("workstation.local:9090", 200),
        ("BACKEND.lab.example.:9090", 200),
        ("rebinding.evil.example:9090", 403),
        ("127.0.0.1.evil.example", 403),
        ("localhost.evil.example", 403),
    ],
)
def test_without_a_password_a_strangers_name_for_this_machine_is_refused(app_server, host, status):
    client = app_server(allowed_hosts="backend.lab.example")
    answer = client.get("/status", headers={"Host": host})
    assert answer.status_code == status
    if status == 403:
        assert "ALLOWED_HOSTS" in answer.json()["detail"]


@pytest.mark.parametrize("settings", [LOCKED, {"bind_address": "0.0.0.0"}])
def test_any_name_will_do_where_a_password_is_set_or_others_are_meant_to_call(app_server, settings):
    client = app_server(**settings)
    header = basic("ann", "right") | {"Host": "backend.lab.example"}
    assert client.get("/status", headers=header).status_code == 200


def test_a_websocket_is_closed_before_anything_behind_the_guard_sees_it():
    seen, sent = [], []

    async def app(scope, receive, send):
        seen.append(scope)

    async def send(message):
        sent.append(message)

    closed = Guard(
        app, credentials=Credentials(), rate_limit="", max_body_mb=1, answered=lambda *_: None
    )
    asyncio.run(closed({"type": "websocket"}, None, send))
    assert seen == []
    assert sent == [{"type": "websocket.close", "code": 1008}]


def test_where_nothing_may_leave_no_page_has_a_browser_fetch_scripts_elsewhere(app_server):
    client = app_server(local_data_only=True, label_studio_url="http://studio:8080")
    assert client.get("/docs").status_code == client.get("/redoc").status_code == 404
    assert client.get("/openapi.json").status_code == 200
    assert "http" not in client.get("/").text.replace("http://studio:8080", "")


@pytest.mark.parametrize("entry", ["nginx", "10.0.0.0/99", "10.0.0.1:80", "10.0.0.7/8"])
def test_a_proxy_that_is_no_address_is_refused_instead_of_trusting_nobody(entry):
    with pytest.raises(SettingsError, match="FORWARDED_ALLOW_IPS"):
        load(forwarded_allow_ips=entry)
    assert load(forwarded_allow_ips="10.0.0.0/8, ::1,*").forwarded_allow_ips == (
        "10.0.0.0/8",
        "::1",
        "*",
    )


@pytest.mark.parametrize("sender", ["", "unknown", "203.0.113.9:80, x", "_hidden"])
def test_a_proxy_that_names_no_address_is_the_caller_itself(app_server, sender):
    client = app_server(rate_limit="1/minute", forwarded_allow_ips="*")
    asked = [client.get("/metrics", headers={"X-Forwarded-For": sender}) for _ in range(2)]
    assert [answer.status_code for answer in asked] == [200, 429]
