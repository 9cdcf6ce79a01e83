"""Task data cannot make the server ask what its author could not ask himself.

What tests/media holds already (the table of networks, embedded IPv4 addresses, pinning, logins of
projects) is not repeated; here are the tricks of attackers, each against the whole fetcher.
"""

import base64
import socket
from ipaddress import ip_address

import httpx2
import pytest
from hypothesis import given
from hypothesis import strategies as st

from prelabel.errors import ImageRefused, ImageUnreachable, TaskError
from prelabel.media.addresses import AddressPolicy, AddressRefused, is_public, resolve_host
from prelabel.media.fetch import Fetcher
from prelabel.media.limits import Limits
from prelabel.media.references import ImageReference, Origin

SECRET = b"only this machine may see it"
TOKEN = "Token 0123456789"


class TokenAuth(httpx2.Auth):
    def auth_flow(self, request):
        request.headers["Authorization"] = TOKEN
        yield request


class Names:
    """Name servers in the attacker's hands; literal addresses resolve as they really do."""

    def __init__(self, **answers):
        self.answers = {name.replace("_", "."): list(found) for name, found in answers.items()}
        self.asked = []

    def __call__(self, host, port):
        self.asked.append(host)
        if host in self.answers:
            queue = self.answers[host]
            return queue.pop(0) if len(queue) > 1 else queue[0]
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_NUMERICHOST)
        return [entry[4][0] for entry in found]


@pytest.fixture
def fetching():
    """Makes fetchers, and fetches an address with one."""
    made = []

    def fetch(uri, *, policy=None, names=resolve_host, label_studio=None, **reference):
        policy = policy or AddressPolicy()
        limits = Limits(max_bytes=1000, fetch_timeout_s=3, max_redirects=3)
        made.append(Fetcher(limits, policy, resolve=names))
        return made[-1].fetch(ImageReference(uri, label_studio=label_studio, **reference))

    yield fetch
    for fetcher in made:
        fetcher.close()


@pytest.fixture
def inside(http_server):
    """A service of this machine that nobody outside should reach."""
    server = http_server()
    server.answer("/secret", SECRET)
    return server


@pytest.mark.parametrize(
    "host",
    [
        "127.0.0.1",
        "localhost",
        "localhost.",
        "LOCALHOST",
        "2130706433",
        "0x7f000001",
        "0x7f.1",
        "017700000001",
        "0177.0.0.1",
        "0177.0x0.0.1",
        "127.1",
        "127.0.1",
        "127.0.0.1.",
        "127.8.8.8",
        "0",
        "0.0.0.0",
        "[::]",
        "[::1]",
        "[0:0:0:0:0:0:0:1]",
        "[::ffff:127.0.0.1]",
        "[::ffff:7f00:1]",
        "[0:0:0:0:0:ffff:127.0.0.1]",
        "[::127.0.0.1]",
        "[fe80::1%25lo]",
        "[fe80::1%lo]",
        "[::1%25lo]",
        "127\u30020\u30020\u30021",  # full stops of another alphabet
        "127\uff0e0\uff0e0\uff0e1",
        "\uff11\uff12\uff17.0.0.1",  # digits of another width
        "\u2460\u2461\u2466.0.0.1",  # digits in circles
        "\u24db\u24de\u24d2\u24d0\u24db\u24d7\u24de\u24e2\u24e3",  # letters in circles
        "127.0.0.1%00.example.org",
        "127.0.0.1%2eexample.org",
        "127.0.0.1\\.example.org",
        "allowed.example@127.0.0.1",
        "allowed.example:80@127.0.0.1",
        "allowed.example%40@127.0.0.1",
        "127.0.0.1:{port}@127.0.0.1",
    ],
)
def test_no_spelling_of_this_machine_is_asked(inside, fetching, host):
    uri = f"http://{host.format(port=inside.port)}:{inside.port}/secret"
    policy = AddressPolicy(("allowed.example",))
    with pytest.raises((ImageRefused, ImageUnreachable)):
        fetching(uri, policy=policy)
    assert inside.asked == []


@pytest.mark.parametrize(
    "host",
    [
        "169.254.169.254",  # AWS, GCP, Azure, OpenStack, DigitalOcean
        "169.254.170.2",  # tasks of ECS
        "[fd00:ec2::254]",
        "[::ffff:169.254.169.254]",
        "[64:ff9b::a9fe:a9fe]",
        "[2002:a9fe:a9fe::]",
        "2852039166",
        "0xa9fea9fe",
        "0251.0376.0251.0376",
        "100.100.100.200",  # Alibaba
        "168.63.129.16",  # Azure's host
        "192.0.0.192",  # Oracle
        "metadata.google.internal",
    ],
)
def test_the_metadata_of_a_cloud_machine_is_never_asked_for(fetching, monkeypatch, host):
    opened = []
    monkeypatch.setattr(socket, "create_connection", lambda *a, **k: opened.append(a) or 1 / 0)
    names = Names(metadata_google_internal=[["169.254.169.254"]])
    with pytest.raises(ImageRefused):
        fetching(f"http://{host}/latest/meta-data/", names=names)
    assert opened == []


@pytest.mark.parametrize(
    "address",
    ["224.0.0.251", "239.255.255.250", "255.255.255.255", "ff02::1", "100.64.0.1", "198.18.0.1"],
)
def test_a_name_that_leads_to_many_machines_or_to_the_providers_own_is_refused(fetching, address):
    names = Names(images_example=[[address]])
    with pytest.raises(ImageRefused, match="not a public address"):
        fetching("http://images.example/a.png", names=names)


@pytest.mark.parametrize(
    "location",
    [
        "http://127.0.0.1:{port}/secret",
        "//127.0.0.1:{port}/secret",
        "http://2130706433:{port}/secret",
        "http://[::ffff:127.0.0.1]:{port}/secret",
        "http://inside.example:{port}/secret",
        "http://user:pw@127.0.0.1:{port}/secret",
        "file:///etc/passwd",
        "ftp://127.0.0.1/secret",
        "gopher://127.0.0.1:{port}/_GET%20/secret",
        "data:image/png;base64,AAAA",
        "javascript:alert(1)",
        "unix:/run/docker.sock",
        "http+unix://%2Frun%2Fdocker.sock/info",
        "",
        "http://",
        "http://127.0.0.1:{port}:80/secret",
    ],
)
def test_a_redirect_leads_nowhere_that_the_first_address_could_not(
    http_server, inside, fetching, location
):
    outside = http_server("127.0.0.2")
    outside.answer("/a", status=302, Location=location.format(port=inside.port))
    names = Names(
        outside_example=[["127.0.0.2"]], inside_example=[["127.0.0.1"]], user=[["127.0.0.1"]]
    )
    with pytest.raises((ImageRefused, ImageUnreachable)):
        fetching(
            f"http://outside.example:{outside.port}/a",
            policy=AddressPolicy(("127.0.0.2",)),
            names=names,
        )
    assert outside.asked
    assert inside.asked == []


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_a_circle_of_redirects_ends(inside, fetching, status):
    inside.answer("/a", status=status, Location="/b")
    inside.answer("/b", status=status, Location="/a")
    with pytest.raises(ImageUnreachable, match="redirects more than 3 times"):
        fetching(inside.url + "/a", policy=AddressPolicy(("127.0.0.1",)))
    assert inside.paths == ["/a", "/b", "/a", "/b"]


def test_a_name_that_changes_between_check_and_connection_gains_nothing(http_server, fetching):
    outside, inside = http_server("127.0.0.2"), http_server("127.0.0.1")
    outside.answer("/a", b"picture")
    names = Names(rebinding_example=[["127.0.0.2"], ["127.0.0.1"]])
    policy = AddressPolicy(("127.0.0.2",))
    uri = f"http://rebinding.example:{outside.port}/a"
    assert fetching(uri, policy=policy, names=names) == b"picture"
    assert names.asked == ["rebinding.example"]  # once: what was checked is what was asked
    with pytest.raises(ImageRefused, match=r"127\.0\.0\.1"):
        fetching(uri, policy=policy, names=names)
    assert inside.asked == []


def test_a_name_that_changes_between_redirects_is_checked_each_time(http_server, fetching):
    outside, inside = http_server("127.0.0.2"), http_server("127.0.0.1")
    outside.answer("/a", status=302, Location=f"http://rebinding.example:{inside.port}/secret")
    names = Names(rebinding_example=[["127.0.0.2"], ["127.0.0.1"]])
    with pytest.raises(ImageRefused):
        fetching(
            f"http://rebinding.example:{outside.port}/a",
            policy=AddressPolicy(("127.0.0.2",)),
            names=names,
        )
    assert inside.asked == []


def test_a_name_with_one_address_inside_is_not_tried_at_the_other(http_server, fetching):
    outside = http_server("127.0.0.2")
    names = Names(mixed_example=[["127.0.0.2", "127.0.0.1"]])
    with pytest.raises(ImageRefused):
        fetching(
            f"http://mixed.example:{outside.port}/a",
            policy=AddressPolicy(("127.0.0.2",)),
            names=names,
        )
    assert outside.asked == []


@pytest.mark.parametrize(
    "uri",
    [
        "http://studio.example@evil.example:{port}/data/upload/1/a.png",
        "http://studio.example:{home}@evil.example:{port}/data/upload/1/a.png",
        "http://studio.example.evil.example:{port}/data/upload/1/a.png",
        "http://evil.example:{port}/http://studio.example:{home}/data/upload/1/a.png",
        "http://evil.example:{port}/?x=studio.example:{home}#studio.example",
        "http://evil.example:{port}#@studio.example:{home}/data/upload/1/a.png",
        "http://evil.example:{port}\\@studio.example:{home}/data/upload/1/a.png",
        "http://studio.example:{port}/data/upload/1/a.png",  # its name, another's port
    ],
)
def test_the_token_goes_to_label_studios_own_origin_only(http_server, fetching, uri):
    studio, evil = http_server(), http_server("127.0.0.2")
    names = Names(
        studio_example=[["127.0.0.1"]],
        evil_example=[["127.0.0.2"]],
        studio_example_evil_example=[["127.0.0.2"]],
    )
    origin = Origin(f"http://studio.example:{studio.port}", TokenAuth())
    with pytest.raises(TaskError):
        fetching(
            uri.format(port=evil.port, home=studio.port),
            policy=AddressPolicy(("127.0.0.0/8",)),
            names=names,
            label_studio=origin,
        )
    assert evil.sent("Authorization") == [None] * len(evil.asked)
    assert TOKEN not in studio.sent("Authorization")


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_the_token_does_not_follow_a_redirect_away_and_back(http_server, fetching, status):
    studio, evil = http_server(), http_server("127.0.0.2")
    studio.answer("/data/upload/1/a.png", status=status, Location=evil.url + "/a")
    evil.answer("/a", status=status, Location=studio.url + "/b")
    studio.answer("/b", b"picture")
    origin = Origin(studio.url, TokenAuth())
    policy = AddressPolicy(("127.0.0.2",))
    assert fetching("/data/upload/1/a.png", policy=policy, label_studio=origin) == b"picture"
    assert studio.sent("Authorization") == [TOKEN, None]
    assert evil.sent("Authorization") == [None]
    assert evil.sent("Cookie") == [None]
    assert evil.sent("Referer") == [None]  # it could hold a signature


def test_a_task_asks_label_studio_for_files_only(http_server, fetching):
    studio = http_server()
    origin = Origin(studio.url, TokenAuth())
    for path in ("/data/upload/../../api/users/", "/data/upload/%2e%2e/%2e%2e/api/users/"):
        with pytest.raises(ImageRefused):
            fetching(path, label_studio=origin)
    assert studio.asked == []


@given(
    st.one_of(
        st.ip_addresses(v=4).map(int).map(str),
        st.ip_addresses(v=4).map(int).map(hex),
        st.ip_addresses(v=4).map(int).map(lambda number: f"0{number:o}"),
        st.ip_addresses(v=4).map(lambda a: f"[::ffff:{a}]"),
        st.ip_addresses(v=6).map(lambda a: f"[{a}]"),
    )
)
def test_an_address_in_any_notation_is_asked_only_if_it_is_public(host):
    policy, url = AddressPolicy(), httpx2.URL(f"http://{host}/")
    address = Names()(url.host, 80)[0]
    plain = ip_address(address)
    plain = getattr(plain, "ipv4_mapped", None) or plain
    if plain.is_private or plain.is_loopback or plain.is_link_local:
        with pytest.raises(AddressRefused, match="not a public address"):
            policy.require(url, [address])
    elif plain.version == 4 and plain.is_global and is_public(plain):
        policy.require(url, [address])


@pytest.mark.parametrize(
    "uri",
    [
        "http://ann:pa55word@127.0.0.1:{port}/a?X-Amz-Signature=51gn&token=t0ken#fr4gment",
        "http://ann:pa55word@unknown.invalid/a?sig=51gn",
        "s3://ann:pa55word@bucket/a?sig=51gn",
        "ftp://ann:pa55word@host/a?sig=51gn",
        "//ann:pa55word@host/a",
        "http://ann:pa55word@[::1/a",
    ],
)
def test_no_refusal_shows_credentials_or_signatures(inside, fetching, uri):
    with pytest.raises(TaskError) as caught:
        fetching(uri.format(port=inside.port))
    for secret in ("pa55word", "51gn", "t0ken", "fr4gment"):
        assert secret not in str(caught.value)
    assert inside.asked == []


def test_a_cloud_address_goes_to_label_studio_as_data_and_not_as_a_path(http_server, fetching):
    studio = http_server()
    with pytest.raises(ImageUnreachable):
        fetching(
            "s3://bucket/../../api/users/?x=1&fileuri=evil",
            label_studio=Origin(studio.url, TokenAuth()),
            task_id=7,
        )
    path, _, query = studio.paths[0].partition("?fileuri=")
    assert path == "/tasks/7/resolve/"
    encoded = query.replace("%3D", "=")
    assert base64.urlsafe_b64decode(encoded) == b"s3://bucket/../../api/users/?x=1&fileuri=evil"
