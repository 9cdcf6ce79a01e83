"""Downloads end in time, within limits, after as many attempts as are worth it."""

import gzip
import time
import zlib
from email.utils import formatdate

import pytest

from prelabel.errors import ImageRefused, ImageTooLarge, ImageUnreachable
from prelabel.media.addresses import AddressPolicy
from prelabel.media.fetch import Fetcher
from prelabel.media.limits import Limits
from prelabel.media.references import ImageReference, Origin

PICTURE = b"the bytes of a picture"
LOOPBACK = AddressPolicy(("127.0.0.0/8",))


def fetch(url, limits=None, policy=LOOPBACK, **more):
    fetcher = Fetcher(limits or Limits(max_bytes=1000, fetch_timeout_s=5), policy)
    try:
        return fetcher.fetch(ImageReference(url, **more))
    finally:
        fetcher.close()


def test_redirects_are_followed_up_to_the_limit(studio):
    for hop in range(6):
        studio.answer(f"/{hop}", status=(301, 302, 303, 307, 308, 302)[hop], Location=f"{hop + 1}")
    studio.answer("/6", PICTURE)
    assert fetch(studio.url + "/1") == PICTURE
    with pytest.raises(ImageUnreachable, match="redirects more than 5 times"):
        fetch(studio.url + "/0")


def test_the_redirect_limit_is_the_setting(studio):
    studio.answer("/a", status=302, Location="/b")
    studio.answer("/b", PICTURE)
    assert fetch(studio.url + "/a", Limits(max_redirects=1)) == PICTURE
    with pytest.raises(ImageUnreachable, match="more than 0 times"):
        fetch(studio.url + "/a", Limits(max_redirects=0))


@pytest.mark.parametrize(
    "location",
    [
        "file:///etc/passwd",
        "ftp://127.0.0.1/a",
        "http://u:p@127.0.0.1/",
        "data:image/png,x",
        "http://h:99999/",
    ],
)
def test_a_redirect_to_something_that_may_not_be_fetched_is_refused(studio, location):
    studio.answer("/a", status=302, Location=location)
    with pytest.raises((ImageRefused, ImageUnreachable)) as caught:
        fetch(studio.url + "/a")
    assert len(studio.asked) == 1
    assert ":p@" not in str(caught.value)


def test_a_redirect_to_a_private_address_is_refused(serve, studio):
    inner = serve("127.0.0.2")
    inner.answer("/metadata", b"secret")
    studio.answer("/a", status=302, Location=inner.url + "/metadata")
    with pytest.raises(ImageRefused, match=r"Add 127\.0\.0\.2 to FETCH_ALLOWED_HOSTS"):
        fetch(studio.url + "/a", policy=AddressPolicy(("127.0.0.1",)))
    with pytest.raises(ImageRefused):
        fetch("/a", policy=AddressPolicy(), label_studio=Origin(studio.url))
    assert inner.asked == []


def test_a_file_announced_over_the_limit_is_refused_unread(studio):
    studio.answer("/a", b"x", promised=1001)
    with pytest.raises(ImageTooLarge, match="raise MAX_IMAGE_MB"):
        fetch(studio.url + "/a")


def test_a_file_of_just_the_limit_is_fetched(studio):
    studio.answer("/a", b"x" * 1000)
    assert len(fetch(studio.url + "/a")) == 1000


@pytest.mark.parametrize("compress", [gzip.compress, zlib.compress], ids=["gzip", "deflate"])
def test_a_compressed_file_is_counted_as_it_unpacks(studio, compress):
    encoding = "gzip" if compress is gzip.compress else "deflate"
    studio.answer("/a", compress(b"x" * 1000), Content_Encoding=encoding)
    studio.answer("/bomb", compress(b"x" * 10_000_000), Content_Encoding=encoding)
    assert fetch(studio.url + "/a", Limits(max_bytes=1000)) == b"x" * 1000
    with pytest.raises(ImageTooLarge):
        fetch(studio.url + "/bomb", Limits(max_bytes=100_000))
    assert studio.sent("Accept-Encoding") == ["identity", "identity"]


@pytest.mark.parametrize(
    ("data", "encoding", "why"),
    [(b"x", "br", "compressed as br"), (b"not gzip", "gzip", "compression is damaged")],
)
def test_a_transfer_compression_that_cannot_be_undone_is_explained(studio, data, encoding, why):
    studio.answer("/a", data, Content_Encoding=encoding)
    with pytest.raises(ImageUnreachable, match=why):
        fetch(studio.url + "/a")


def test_a_truncated_answer_is_asked_for_again(studio):
    studio.answer("/a", PICTURE[:5], promised=len(PICTURE))
    studio.answer("/a", PICTURE)
    assert fetch(studio.url + "/a") == PICTURE
    assert len(studio.asked) == 2


def test_truncated_gzip_is_asked_for_again(studio):
    studio.answer("/a", gzip.compress(PICTURE)[:-9], Content_Encoding="gzip")
    studio.answer("/a", PICTURE)
    assert fetch(studio.url + "/a") == PICTURE


@pytest.mark.parametrize("status", [429, 502, 503, 504])
def test_a_passing_failure_is_asked_again(studio, status):
    studio.answer("/a", status=status)
    studio.answer("/a", PICTURE)
    assert fetch(studio.url + "/a") == PICTURE


@pytest.mark.parametrize("status", [400, 401, 403, 404, 410, 500])
def test_a_refusal_is_not_asked_again(studio, status):
    studio.answer("/a", status=status)
    with pytest.raises(ImageUnreachable, match=f"127.0.0.1 answered {status}"):
        fetch(studio.url + "/a")
    assert len(studio.asked) == 1


def test_a_failure_that_does_not_pass_is_asked_a_few_times(studio):
    studio.answer("/a", status=503)
    with pytest.raises(ImageUnreachable, match="answered 503"):
        fetch(studio.url + "/a")
    assert len(studio.asked) == 4


@pytest.mark.parametrize("as_date", [False, True])
def test_the_wait_that_a_server_asks_for_is_kept(studio, as_date):
    wait = formatdate(time.time() + 2, usegmt=True) if as_date else "1"
    studio.answer("/a", status=429, Retry_After=wait)
    studio.answer("/a", PICTURE)
    began = time.monotonic()
    assert fetch(studio.url + "/a") == PICTURE
    assert time.monotonic() - began >= 0.9


@pytest.mark.parametrize("wait", ["3600", "Fri, 01 Jan 2100 00:00:00 GMT"])
def test_a_wait_beyond_the_deadline_is_not_begun(studio, wait):
    studio.answer("/a", status=503, Retry_After=wait)
    began = time.monotonic()
    with pytest.raises(ImageUnreachable, match="answered 503"):
        fetch(studio.url + "/a")
    assert time.monotonic() - began < 10
    assert len(studio.asked) == 1


def test_a_nonsense_wait_is_ignored(studio):
    studio.answer("/a", status=503, Retry_After="soon")
    studio.answer("/a", PICTURE)
    assert fetch(studio.url + "/a") == PICTURE


def test_a_body_that_drips_is_cut_off_at_the_deadline(studio):
    studio.answer("/a", b"x" * 500, drip_s=-0.05)
    began = time.monotonic()
    with pytest.raises(ImageTooLarge, match=r"still coming after 0\.6 s"):
        fetch(studio.url + "/a", Limits(fetch_timeout_s=0.6))
    assert time.monotonic() - began < 10


def test_headers_that_drip_are_cut_off_at_the_deadline(studio):
    studio.answer("/a", drip_s=0.05)
    began = time.monotonic()
    with pytest.raises(ImageUnreachable, match=r"did not answer within 0\.6 s"):
        fetch(studio.url + "/a", Limits(fetch_timeout_s=0.6))
    assert time.monotonic() - began < 10


def test_retries_end_at_the_deadline(studio):
    studio.answer("/a", status=503)
    began = time.monotonic()
    with pytest.raises(ImageUnreachable):
        fetch(studio.url + "/a", Limits(fetch_timeout_s=1.0))
    assert time.monotonic() - began < 5


def test_a_redirect_that_says_no_address_is_no_circle(studio):
    studio.answer("/a", status=302)
    with pytest.raises(ImageUnreachable, match="redirects to an address that is none"):
        fetch(studio.url + "/a")
    assert len(studio.asked) == 1


def test_a_server_that_is_not_there_is_named(serve):
    with pytest.raises(ImageUnreachable, match=r"no connection to 127\.0\.0\.1:9 \("):
        fetch("http://127.0.0.1:9/a", Limits(fetch_timeout_s=1))
    with pytest.raises(ImageUnreachable, match=r"no connection to Label Studio at 127\.0\.0\.1:9 "):
        fetch("/data/a", Limits(fetch_timeout_s=1), label_studio=Origin("http://127.0.0.1:9"))


def test_a_redirect_of_label_studio_to_another_address_of_its_own_is_explained(serve, studio):
    real = serve("127.0.0.2")
    real.answer("/data/a", status=401)
    studio.answer("/data/a", status=301, Location=real.url + "/data/a")
    with pytest.raises(ImageUnreachable, match=f"{real.url}/data/a.* set LABEL_STUDIO_URL to that"):
        fetch("/data/a", label_studio=Origin(studio.url))


def test_cookies_do_not_go_from_one_fetch_to_the_next(studio):
    studio.answer("/a", PICTURE, Set_Cookie="sessionid=secret; Path=/")
    fetcher = Fetcher(Limits(), LOOPBACK)
    fetcher.fetch(ImageReference(studio.url + "/a"))
    fetcher.fetch(ImageReference(studio.url + "/a"))
    fetcher.close()
    assert studio.sent("Cookie") == [None, None]


def test_proxies_and_logins_of_the_environment_are_not_used(studio, monkeypatch, tmp_path):
    netrc = tmp_path / "netrc"
    netrc.write_text("machine 127.0.0.1 login u password p\n")
    netrc.chmod(0o600)
    monkeypatch.setenv("NETRC", str(netrc))
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    monkeypatch.setenv("ALL_PROXY", "http://127.0.0.1:9")
    studio.answer("/a", PICTURE)
    assert fetch(studio.url + "/a") == PICTURE
    assert studio.sent("Authorization") == [None]


def test_errors_show_no_secrets_of_the_address(studio):
    studio.answer("/a", status=403)
    with pytest.raises(ImageUnreachable) as caught:
        fetch(studio.url + "/a?X-Amz-Signature=secret")
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize("field", ["max_bytes", "max_pixels", "fetch_timeout_s", "max_redirects"])
def test_a_limit_below_zero_is_a_mistake(field):
    with pytest.raises(ValueError, match=field):
        Limits(**{field: -1})
