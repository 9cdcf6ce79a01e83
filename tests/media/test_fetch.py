"""Each kind of image address is fetched from the right place with the right credentials."""

import base64
import contextlib
import os

import httpx2
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from prelabel.errors import (
    ImageMissing,
    ImageRefused,
    ImageTooLarge,
    ImageUnreachable,
    ImageUnreadable,
    LoginRefused,
    TaskError,
)
from prelabel.media.addresses import AddressPolicy
from prelabel.media.fetch import Fetcher
from prelabel.media.limits import Limits
from prelabel.media.references import ImageReference, Origin

PICTURE = b"the bytes of a picture"
TOKEN = "Token 0123456789"


class TokenAuth(httpx2.Auth):
    def auth_flow(self, request):
        request.headers["Authorization"] = TOKEN
        yield request


@pytest.fixture
def fetcher():
    with_limits = Limits(max_bytes=1000, fetch_timeout_s=3)
    fetcher = Fetcher(with_limits, AddressPolicy())
    yield fetcher
    fetcher.close()


@pytest.fixture
def origin(studio):
    return Origin(studio.url, TokenAuth())


@pytest.fixture
def folder(tmp_path):
    """A shared folder with one picture, and a secret beside it."""
    (tmp_path / "secret.png").write_bytes(b"secret")
    shared = tmp_path / "shared"
    (shared / "deep").mkdir(parents=True)
    (shared / "deep" / "a b.png").write_bytes(PICTURE)
    return shared


@pytest.fixture
def with_folder(folder):
    fetcher = Fetcher(Limits(max_bytes=1000, fetch_timeout_s=3), AddressPolicy(), folder)
    yield fetcher
    fetcher.close()


@pytest.mark.parametrize("uri", ["", "  \n"])
def test_an_empty_address_is_a_missing_image(fetcher, uri):
    with pytest.raises(ImageMissing, match=r"^task 7: "):
        fetcher.fetch(ImageReference(uri, task_id=7))


@pytest.mark.parametrize(
    "uri",
    [
        "data:image/png;base64," + base64.b64encode(PICTURE).decode(),
        "DATA:image/png;BASE64," + base64.b64encode(PICTURE).decode().rstrip("="),
        "data:image/png;base64," + base64.b64encode(PICTURE).decode().replace("=", "%3D"),
        "data:image/png;base64, \n" + base64.b64encode(PICTURE).decode(),
        "data:image/png;name=x,the%20bytes of a%20picture",
    ],
)
def test_a_data_uri_is_decoded(fetcher, uri):
    assert fetcher.fetch(ImageReference(uri)) == PICTURE


@pytest.mark.parametrize(
    ("uri", "error", "why"),
    [
        ("data:text/html,<p>", ImageRefused, "'text/html', not image"),
        ("data:,x", ImageRefused, "'text/plain', not image"),
        ("data:image/png;base64", ImageUnreadable, "no comma"),
        ("data:image/png;base64,!!!!", ImageUnreadable, "base64 is damaged"),
        ("data:image/png;base64,A", ImageUnreadable, "base64 is damaged"),
        ("data:image/png," + "x" * 1001, ImageTooLarge, "over the limit"),
        ("data:image/png;base64," + "A" * 1400, ImageTooLarge, "over the limit"),
    ],
)
def test_a_bad_data_uri_is_refused_with_a_reason(fetcher, uri, error, why):
    with pytest.raises(error, match=why):
        fetcher.fetch(ImageReference(uri))


def test_a_data_uri_of_just_the_limit_is_decoded(fetcher):
    assert fetcher.fetch(ImageReference("data:image/png," + "%41" * 1000)) == b"A" * 1000


@pytest.mark.parametrize(
    "uri", ["/data/upload/1/a%20b.png", "upload/1/a%20b.png", "/upload/1/a%20b.png"]
)
def test_an_upload_comes_from_label_studio_with_its_token(fetcher, studio, origin, uri):
    studio.answer("/data/upload/1/a%20b.png", PICTURE, only_with=TOKEN)
    assert fetcher.fetch(ImageReference(uri, label_studio=origin)) == PICTURE


def test_uploads_in_cloud_storage_are_found_and_the_way_is_remembered(fetcher, studio, origin):
    way = "/storage-data/uploaded/?filepath=upload%2F1%2F"
    studio.answer(way + "a%20b.png", PICTURE, only_with=TOKEN)
    studio.answer(way + "c.png", PICTURE, only_with=TOKEN)
    fetcher.fetch(ImageReference("/data/upload/1/a%20b.png", label_studio=origin))
    fetcher.fetch(ImageReference("/data/upload/1/c.png", label_studio=origin))
    assert studio.paths == ["/data/upload/1/a%20b.png", way + "a%20b.png", way + "c.png"]


@pytest.mark.parametrize("status", [404, 500])
def test_an_upload_that_is_gone_is_explained(fetcher, studio, origin, status):
    studio.answer("/data/upload/1/a.png", status=status)
    with pytest.raises(ImageUnreachable, match=f"answered {status}. Upload the file .* again"):
        fetcher.fetch(ImageReference("/data/upload/1/a.png", label_studio=origin))


@pytest.mark.parametrize(
    "uri", ["/data/upload/a.png", "/data/local-files/?d=a.png", "s3://b/a.png"]
)
def test_without_a_label_studio_its_images_say_what_to_set(fetcher, uri):
    with pytest.raises(ImageUnreachable, match="Set LABEL_STUDIO_URL and LABEL_STUDIO_API_KEY"):
        fetcher.fetch(ImageReference(uri, task_id=1))


def test_a_local_file_is_read_from_the_shared_folder(with_folder, studio, origin):
    for path in ("/?d=deep/a%20b.png", "/?d=/deep/a+b.png", "?d=deep/a%20b.png"):
        uri = "/data/local-files" + path
        assert with_folder.fetch(ImageReference(uri, label_studio=origin)) == PICTURE
    absolute = studio.url + "/data/local-files/?d=deep%2Fa%20b.png"
    assert with_folder.fetch(ImageReference(absolute, label_studio=origin)) == PICTURE
    assert studio.asked == []


def test_a_local_file_that_is_not_shared_comes_through_label_studio(with_folder, studio, origin):
    studio.answer("/data/local-files/?d=other.png", PICTURE, only_with=TOKEN)
    uri = "/data/local-files/?d=other.png"
    assert with_folder.fetch(ImageReference(uri, label_studio=origin)) == PICTURE


@pytest.mark.parametrize(
    ("status", "step"), [(403, "LOCAL_FILES_SERVING_ENABLED=true"), (404, "Local Files source")]
)
def test_a_local_file_that_label_studio_refuses_is_explained(fetcher, studio, origin, status, step):
    studio.answer("/data/local-files/", status=status)
    with pytest.raises(ImageUnreachable, match=f"answered {status}. .*{step}"):
        fetcher.fetch(ImageReference("/data/local-files/?d=a.png", label_studio=origin))


def test_paths_into_the_shared_folder_are_read(with_folder, folder):
    path = folder / "deep" / "a b.png"
    for uri in ("deep/a b.png", str(path), f"file://{path}".replace(" ", "%20"), f"file:{path}"):
        assert with_folder.fetch(ImageReference(uri)) == PICTURE


def test_a_name_in_a_file_uri_may_hold_what_begins_a_query_on_the_web(with_folder, folder):
    (folder / "take #1?.png").write_bytes(PICTURE)
    assert with_folder.fetch(ImageReference(f"file://{folder}/take #1?.png")) == PICTURE


@pytest.mark.parametrize(
    "uri",
    [
        "../secret.png",
        "deep/../../secret.png",
        "file://{folder}/../secret.png",
        "file://{folder}/%2e%2e/secret.png",
        "file://elsewhere{folder}/deep/a b.png",
        "file:///etc/passwd",
        "leaks/secret.png",
        "link.png",
        "pipe",
        "deep",
        "nothing.png",
        "C:\\images\\a.png",
        "nul\0.png",
    ],
)
def test_paths_that_lead_elsewhere_are_refused(with_folder, folder, uri):
    (folder / "leaks").symlink_to(folder.parent)
    (folder / "link.png").symlink_to(folder.parent / "secret.png")
    os.mkfifo(folder / "pipe")
    with pytest.raises(ImageRefused, match="below LOCAL_FILES_DOCUMENT_ROOT"):
        with_folder.fetch(ImageReference(uri.format(folder=folder)))


def test_a_local_file_beside_the_shared_folder_is_left_to_label_studio(with_folder, studio, origin):
    with pytest.raises(ImageUnreachable, match="answered 404"):
        with_folder.fetch(ImageReference("/data/local-files/?d=../secret.png", label_studio=origin))
    assert len(studio.asked) == 1


def test_a_file_over_the_limit_is_refused(with_folder, folder):
    (folder / "large.png").write_bytes(b"x" * 1001)
    with pytest.raises(ImageTooLarge, match="raise MAX_IMAGE_MB"):
        with_folder.fetch(ImageReference("large.png"))


def test_without_a_shared_folder_a_path_says_what_to_set(fetcher):
    with pytest.raises(ImageRefused, match="Set LOCAL_FILES_DOCUMENT_ROOT"):
        fetcher.fetch(ImageReference("file:///etc/passwd"))


@pytest.mark.parametrize("uri", ["s3://bucket/ä b.png", "gs://bucket/a", "azure-blob://box/a"])
def test_a_cloud_address_is_resolved_by_label_studio(fetcher, studio, origin, uri):
    encoded = base64.urlsafe_b64encode(uri.encode()).decode().replace("=", "%3D")
    studio.answer(f"/tasks/5/resolve/?fileuri={encoded}", PICTURE, only_with=TOKEN)
    assert fetcher.fetch(ImageReference(uri, task_id=5, label_studio=origin)) == PICTURE


def test_a_presigned_redirect_is_followed_without_the_token(serve, studio, origin):
    bucket = serve("127.0.0.2")
    bucket.answer("/a.png?signature=s", PICTURE)
    studio.answer("/tasks/5/resolve/", status=303, Location=bucket.url + "/a.png?signature=s")
    fetcher = Fetcher(Limits(), AddressPolicy(("127.0.0.2",)))
    assert fetcher.fetch(ImageReference("s3://b/a", 5, label_studio=origin)) == PICTURE
    fetcher.close()
    assert studio.sent("Authorization") == [TOKEN]
    assert bucket.sent("Authorization") == [None]


@pytest.mark.parametrize(
    ("status", "step"),
    [(403, "access to the project"), (404, "source storage"), (424, "credentials")],
)
def test_a_cloud_address_that_label_studio_refuses_is_explained(
    fetcher, studio, origin, status, step
):
    studio.answer("/tasks/5/resolve/", status=status)
    with pytest.raises(ImageUnreachable, match=f"answered {status}. .*{step}"):
        fetcher.fetch(ImageReference("gs://b/a", task_id=5, label_studio=origin))


def test_a_cloud_address_without_a_task_is_explained(fetcher, origin):
    with pytest.raises(ImageUnreachable, match="for a task only"):
        fetcher.fetch(ImageReference("gs://b/a", label_studio=origin))


def test_label_studio_under_a_sub_path_is_asked_there(fetcher, studio):
    origin = Origin(studio.url + "/ls/", TokenAuth())
    studio.answer("/ls/data/upload/1/a.png", PICTURE, only_with=TOKEN)
    for uri in (
        "/data/upload/1/a.png",
        "/ls/data/upload/1/a.png",
        studio.url + "/ls/data/upload/1/a.png",
    ):
        assert fetcher.fetch(ImageReference(uri, label_studio=origin)) == PICTURE


def test_beside_the_sub_path_the_token_is_not_sent(fetcher, studio):
    origin = Origin(studio.url + "/ls", TokenAuth())
    studio.answer("/other/a.png", PICTURE)
    beside = ImageReference(studio.url + "/other/a.png", label_studio=origin)
    assert fetcher.fetch(beside) == PICTURE
    assert studio.sent("Authorization") == [None]


@pytest.mark.parametrize(
    "uri", ["/../other/a.png", "/data/upload/1/../../../api/users", "/data/upload/%2e%2e/x.png"]
)
def test_a_path_that_climbs_asks_nothing_of_label_studio(fetcher, studio, uri):
    with pytest.raises(ImageRefused, match="climbs"):
        fetcher.fetch(ImageReference(uri, label_studio=Origin(studio.url, TokenAuth())))
    assert studio.sent("Authorization") == []


FILES = (
    "/data/upload/1/a.png",
    "/data/local-files?d=a.png",
    "/storage-data/uploaded/?filepath=upload%2F1%2Fa.png",
    "/tasks/5/resolve/?fileuri=eA",
    "/projects/5/presign/?fileuri=eA",
    "/api/tasks/5/presign/?fileuri=eA",
    "/api/projects/5/file-proxy?url=eA",
)
OTHERS = (
    "/logout",
    "/api/projects/5/export?x=/data/upload/1/a.png",
    "/tasks/5/annotations/?x=resolve",
    "/images/a.png",
)


@pytest.mark.parametrize("below", ["", "/ls"])
def test_the_token_goes_to_where_label_studio_serves_files_and_nowhere_else(fetcher, studio, below):
    origin = Origin(studio.url + below, TokenAuth())
    for path in (*FILES, *OTHERS):
        studio.answer(below + path, PICTURE)
        for uri in (path, studio.url + below + path):
            assert fetcher.fetch(ImageReference(uri, label_studio=origin)) == PICTURE
    assert studio.sent("Authorization") == [TOKEN] * 2 * len(FILES) + [None] * 2 * len(OTHERS)


def test_a_redirect_within_label_studio_takes_the_token_to_files_only(fetcher, studio, origin):
    studio.answer("/data/local-files?d=a", status=301, Location="/data/local-files/?d=a")
    studio.answer("/data/local-files/?d=a", status=302, Location="/api/users")
    studio.answer("/api/users", PICTURE)
    fetcher.fetch(ImageReference("/data/local-files?d=a", label_studio=origin))
    assert studio.sent("Authorization") == [TOKEN, TOKEN, None]


@pytest.mark.parametrize("status", [401, 403, 302])
def test_a_path_that_wants_the_token_and_is_not_sent_it_says_why(fetcher, studio, origin, status):
    studio.answer("/api/users", status=status, Location="/user/login/?next=/api/users")
    with pytest.raises(ImageUnreachable, match=r"only to where it serves files, .*/data/upload/"):
        fetcher.fetch(ImageReference("/api/users", label_studio=origin))


def test_an_alias_of_label_studio_is_asked_at_its_address(fetcher, studio):
    origin = Origin(studio.url, TokenAuth(), aliases=("https://studio.example.org/ls",))
    studio.answer("/api/projects/1/file-proxy", PICTURE, only_with=TOKEN)
    uri = "https://studio.example.org/ls/api/projects/1/file-proxy?url=x"
    assert fetcher.fetch(ImageReference(uri, label_studio=origin)) == PICTURE


def test_other_servers_do_not_see_the_token(serve, origin):
    stranger = serve("127.0.0.2")
    stranger.answer("/a.png", PICTURE)
    fetcher = Fetcher(Limits(), AddressPolicy(("127.0.0.0/8",)))
    fetcher.fetch(ImageReference(stranger.url + "/a.png", label_studio=origin))
    fetcher.close()
    assert stranger.sent("Authorization") == [None]


def test_a_redirect_back_to_label_studio_does_not_bring_the_token_back(serve, studio, origin):
    stranger = serve("127.0.0.2")
    studio.answer("/data/a", status=302, Location=stranger.url + "/b")
    stranger.answer("/b", status=302, Location=studio.url + "/data/c")
    studio.answer("/data/c", PICTURE)
    fetcher = Fetcher(Limits(), AddressPolicy(("127.0.0.2",)))
    fetcher.fetch(ImageReference("/data/a", label_studio=origin))
    fetcher.close()
    assert studio.sent("Authorization") == [TOKEN, None]
    assert stranger.sent("Authorization") == [None]


def test_the_same_address_under_another_name_does_not_see_the_token(studio, origin):
    studio.answer("/a.png", PICTURE)
    fetcher = Fetcher(Limits(), AddressPolicy(("localhost",)))
    uri = f"http://localhost:{studio.port}/a.png"
    fetcher.fetch(ImageReference(uri, label_studio=origin))
    fetcher.close()
    assert studio.sent("Authorization") == [None]


def test_the_login_of_the_project_is_sent_to_the_first_origin_only(serve):
    first, second = serve(), serve("127.0.0.2")
    first.answer("/a", status=302, Location="/b")
    first.answer("/b", status=302, Location=second.url + "/c")
    second.answer("/c", status=302, Location=first.url + "/d")
    first.answer("/d", PICTURE)
    fetcher = Fetcher(Limits(), AddressPolicy(("127.0.0.0/8",)))
    fetcher.fetch(ImageReference(first.url + "/a", login="u", password="p"))
    fetcher.close()
    basic = "Basic " + base64.b64encode(b"u:p").decode()
    assert first.sent("Authorization") == [basic, basic, None]
    assert second.sent("Authorization") == [None]


@pytest.mark.parametrize(
    ("auth", "step"),
    [(None, "Set LABEL_STUDIO_API_KEY to a personal"), (TokenAuth(), "legacy token")],
)
@pytest.mark.parametrize("kind", [401, 302])
def test_a_refused_login_says_which_token_is_wanted(fetcher, studio, auth, step, kind):
    studio.answer("/data/upload/1/a.png", status=kind, Location="/user/login/?next=/data/")
    with pytest.raises(ImageUnreachable, match=f"Label Studio answered 401. .*{step}"):
        fetcher.fetch(ImageReference("/data/upload/1/a.png", label_studio=Origin(studio.url, auth)))


def test_a_login_that_label_studio_refuses_to_exchange_is_the_failure_of_the_task(fetcher, studio):
    class Refused(httpx2.Auth):
        def auth_flow(self, request):
            raise LoginRefused("Label Studio", "the token is revoked", "Make a new one.")

    with pytest.raises(ImageUnreachable, match=r"the token is revoked\. Make a new one\."):
        fetcher.fetch(ImageReference("/data/a.png", label_studio=Origin(studio.url, Refused())))


@pytest.mark.parametrize("login", [None, "u"])
def test_a_server_that_wants_a_login_says_where_to_enter_it(studio, login):
    studio.answer("/a", status=401)
    fetcher = Fetcher(Limits(), AddressPolicy(("127.0.0.1",)))
    with pytest.raises(ImageUnreachable, match="task data credentials"):
        fetcher.fetch(ImageReference(studio.url + "/a", login=login))
    fetcher.close()


@pytest.mark.parametrize(
    "uri",
    ["ftp://h/a", "javascript:x", "//h/a", "http://", "http://h:99999999/a", "http://u:p@h/a"],
)
def test_other_addresses_are_refused_and_shown_without_their_secrets(fetcher, uri):
    with pytest.raises(ImageRefused) as caught:
        fetcher.fetch(ImageReference(uri))
    assert ":p@" not in str(caught.value)


ANY_TEXT = st.text(st.characters(exclude_categories=()))
BEGINNINGS = ["http://", "https://[", "http://h:", "file://", "file:", "s3://", "data:", "//", "/"]
BEGINNINGS += ["data:image/png;base64,", "/data/upload/", "/data/local-files/?d=", "upload/", "C:"]


@pytest.fixture(scope="module")
def offline(tmp_path_factory):
    """A fetcher to which no name resolves."""

    def nowhere(host, port):
        raise OSError("no network in this test")

    root = tmp_path_factory.mktemp("empty")
    fetcher = Fetcher(Limits(fetch_timeout_s=0.01), AddressPolicy(), root, resolve=nowhere)
    yield fetcher
    fetcher.close()


@settings(deadline=None, max_examples=300)
@given(st.sampled_from(["", *BEGINNINGS]), ANY_TEXT, st.booleans())
def test_no_address_raises_anything_but_a_reason(offline, beginning, rest, known):
    origin = Origin("http://studio/ls", TokenAuth()) if known else None
    # Only a data: URI can be had here, and what begins as one may be whole.
    with contextlib.suppress(TaskError):
        data = offline.fetch(ImageReference(beginning + rest, task_id=1, label_studio=origin))
        assert beginning.startswith("data:")
        assert isinstance(data, bytes)
