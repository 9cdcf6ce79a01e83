"""What a refusal says in full: the address, why nothing comes from it, and what to do."""

import pytest

from prelabel.errors import ImageTooLarge, TaskError
from prelabel.media.addresses import AddressPolicy
from prelabel.media.fetch import Fetcher
from prelabel.media.limits import Limits
from prelabel.media.references import ImageReference, Origin


@pytest.fixture
def fetch(tmp_path):
    """Fetches from this machine and from a folder, which has a picture of 1,001 bytes."""
    (tmp_path / "large.png").write_bytes(bytes(1001))
    policy = AddressPolicy(("127.0.0.0/8",))
    fetchers = {
        with_folder: Fetcher(
            Limits(max_bytes=1000, fetch_timeout_s=3), policy, tmp_path if with_folder else None
        )
        for with_folder in (False, True)
    }

    def fetched(uri, *, with_folder=False, **about):
        return fetchers[with_folder].fetch(ImageReference(uri, **about))

    yield fetched
    for fetcher in fetchers.values():
        fetcher.close()


@pytest.mark.parametrize(
    ("uri", "with_folder", "said"),
    [
        (
            "s3://bucket/a.png",
            False,
            (
                "Label Studio resolves a cloud address for a task only, and this one has no id. "
                "Import the task into Label Studio, or give the image an http(s) address."
            ),
        ),
        (
            "/data/upload/../../secret.png",
            False,
            "its path climbs out of where it begins. Correct the address.",
        ),
        (
            "/data/upload/1/a.png",
            False,
            (
                "it is in Label Studio, and which one is not known. "
                "Set LABEL_STUDIO_URL and LABEL_STUDIO_API_KEY."
            ),
        ),
        (
            "frames/a.png",
            False,
            (
                "it is a path on a disk, and no folder is shared with prelabel. "
                "Set LOCAL_FILES_DOCUMENT_ROOT to the folder that holds the images."
            ),
        ),
        (
            "file://localhost/a.png",
            False,
            (
                "it is a path on a disk, and no folder is shared with prelabel. "
                "Set LOCAL_FILES_DOCUMENT_ROOT to the folder that holds the images."
            ),
        ),
        (
            "frames/a.png",
            True,
            (
                "it is no file that can be read below LOCAL_FILES_DOCUMENT_ROOT. "
                "Move the file there, or correct the path in the task's data."
            ),
        ),
        (
            "ftp://host/a.png",
            True,
            (
                "addresses that begin with ftp: are not fetched. "
                "Give the image an http(s) address, or upload it to Label Studio."
            ),
        ),
        (
            "http://[::1/a.png",
            True,
            "it is no valid address. Correct the address in the task's data.",
        ),
    ],
)
def test_an_address_is_refused_by_name(fetch, uri, with_folder, said):
    with pytest.raises(TaskError) as raised:
        fetch(uri, with_folder=with_folder)
    assert str(raised.value) == f"{uri}: {said}"


@pytest.mark.parametrize(
    ("location", "said"),
    [
        (
            "gopher://elsewhere/a.png",
            (
                "it redirects to gopher://elsewhere/a.png. "
                "Give the image an http(s) address that leads to http(s) addresses only."
            ),
        ),
        (
            "http://[::1/a.png",
            (
                "127.0.0.1 redirects to an address that is none. "
                "Correct the address in the task's data."
            ),
        ),
    ],
)
def test_where_it_may_not_lead_an_address_is_refused_by_name(fetch, studio, location, said):
    studio.answer("/a.png", status=302, Location=location)
    with pytest.raises(TaskError) as raised:
        fetch(f"{studio.url}/a.png")
    assert str(raised.value) == f"{studio.url}/a.png: {said}"


@pytest.mark.parametrize(
    "uri", ["large.png", "{folder}/large.png", "/data/local-files/?d=/large.png"]
)
def test_a_file_that_is_too_large_is_refused_by_name(fetch, tmp_path, uri):
    uri = uri.format(folder=tmp_path)
    with pytest.raises(ImageTooLarge) as raised:
        fetch(uri, with_folder=True)
    assert str(raised.value).startswith(f"{uri}: it is over the limit of ")


@pytest.mark.parametrize("status", [400, 403, 404, 500])
def test_an_upload_that_is_refused_is_looked_for_in_cloud_storage(fetch, studio, status):
    studio.answer("/data/upload/1/a.png", status=status)
    studio.answer("/storage-data/uploaded/?filepath=upload%2F1%2Fa.png", b"picture")
    assert fetch("/data/upload/1/a.png?x=1", label_studio=Origin(studio.url)) == b"picture"


@pytest.mark.parametrize("status", [401, 410])
def test_an_upload_that_is_gone_is_not_looked_for_elsewhere(fetch, studio, status):
    studio.answer("/data/upload/1/a.png", status=status)
    studio.answer("/storage-data/uploaded/?filepath=upload%2F1%2Fa.png", b"picture")
    with pytest.raises(TaskError):
        fetch("/data/upload/1/a.png", label_studio=Origin(studio.url))
