"""`prelabel bench memory`: different images through a real server, and its verdict."""

from prelabel.benchmarks.image_server import pictures, unlike_any
from prelabel.benchmarks.memory import Sample, _told, memory
from prelabel.media.decode import decode
from prelabel.media.limits import Limits


def test_the_pictures_are_different_files_that_can_be_decoded():
    jpeg = pictures(120, 90)[0]
    one, other = (unlike_any(jpeg, f"/{number}.jpg") for number in range(2))
    assert one != other
    assert decode(one, "one", Limits()).pixels_rgb.shape == (90, 120, 3)


def test_all_images_are_predicted_and_the_figures_are_printed(capsys):
    memory(120, "paced-instant")
    printed = capsys.readouterr().out
    assert "after    120 images:" in printed
    assert "all predicted" in printed


def test_only_growth_after_the_caches_are_full_counts(capsys):
    def sample(images, resident_mb):
        return Sample(images, resident_mb, 9, 9)

    flat = [sample(0, 100), sample(100, 300), sample(500, 340), sample(1000, 310)]
    assert _told(flat, 1000, 1.0)
    assert not _told([*flat[:-1], sample(1000, 400)], 1000, 1.0)
    assert "peak 400 MB; from 100 images on +100 MB" in capsys.readouterr().out
