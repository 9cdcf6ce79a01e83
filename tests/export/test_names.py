import pytest

from prelabel.export.names import Names


@pytest.mark.parametrize(
    ("uri", "name"),
    [
        ("/data/upload/12/0a1b2c3d-photo.png", "0a1b2c3d-photo.png"),
        ("/sub/path/data/upload/12/0a1b2c3d-photo%20one.png", "0a1b2c3d-photo one.png"),
        ("upload/12/0a1b2c3d-photo.png", "0a1b2c3d-photo.png"),
        ("http://host:8080/data/upload/1/a-b.jpg", "a-b.jpg"),
        ("/data/local-files/?d=clips/one/0001.jpg", "clips/one/0001.jpg"),
        ("/data/local-files/?d=clips%5Cone%5C0001.jpg", "clips/one/0001.jpg"),
        ("s3://bucket/clips/one/0001.jpg", "clips/one/0001.jpg"),
        ("s3://bucket/what?.jpg", "what?.jpg"),
        ("https://example.com/a/b.png?sig=secret#part", "a/b.png"),
        ("C:\\clips\\0001.jpg", "clips/0001.jpg"),
        ("/data/local-files/?d=../../etc/./passwd", "etc/passwd"),
        ("https://example.com/..%2f..%2fetc/passwd", "etc/passwd"),
        ("https://example.com/a%00b%0a.png", "a_b_.png"),
        ("s3://bucket/\ud800.png", "_.png"),
        ("https://example.com/", "task-7"),
        ("data:image/png;base64,iVBORw0KGgo=", "task-7.png"),
        ("", "task-7"),
        (f"https://example.com/{'a' * 256}.png", "task-7.png"),
        (f"s3://bucket/{'ä' * 130}/1.jpg", "task-7.jpg"),
        (f"s3://bucket/{'a/' * 2000}1.jpg", "task-7.jpg"),
        (f"s3://bucket/1.{'a' * 256}", "task-7"),
    ],
)
def test_an_address_becomes_a_path_below_the_dataset(uri, name):
    assert Names().name(uri, "task-7") == name


@pytest.mark.parametrize("second", ["x.png", "x.jpg", "X.png"])
def test_names_that_would_share_a_label_file_are_told_apart_by_their_task(second):
    names = Names()
    assert names.name("s3://bucket/x.png", "task-1") == "x.png"
    assert names.name(f"s3://other/{second}", "task-2") == f"task-2/{second}"


def test_a_name_that_another_task_had_already_is_told_apart_again():
    names = Names()
    assert names.name("s3://bucket/task-2/x.png", "task-1") == "task-2/x.png"
    assert names.name("s3://bucket/x.png", "task-3") == "x.png"
    assert names.name("s3://other/x.png", "task-2") == "task-2/task-2/x.png"


@pytest.mark.parametrize("first", [0, 1])
def test_no_image_is_the_folder_of_another(first):
    uris = ["https://example.com/id/200", "https://example.com/id/200/300"]
    names = Names()
    one, other = (names.name(uri, f"task-{n}") for n, uri in enumerate([uris.pop(first), *uris]))
    assert other.startswith("task-1/")
    assert not f"{one}/".startswith(f"{other}/")
    assert not f"{other}/".startswith(f"{one}/")


def test_a_folder_of_the_name_of_an_image_keeps_it():
    names = Names()
    assert names.name("s3://bucket/clip.jpg", "task-1") == "clip.jpg"
    assert names.name("s3://bucket/clip/1.jpg", "task-2") == "clip/1.jpg"
