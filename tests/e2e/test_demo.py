"""`prelabel demo --check`, as `make demo CHECK=1` runs it, and the demo that stays up."""

import signal
import subprocess
import sysconfig
import threading
from pathlib import Path

import httpx2
import pytest

from prelabel.launch.processes import free_port

pytestmark = pytest.mark.e2e

PRELABEL = str(Path(sysconfig.get_path("scripts")) / "prelabel")


@pytest.fixture
def command(label_studio_program, demo_frames, demo_photos, tmp_path):
    """`prelabel demo` with data of its own."""
    frames, people = (pictures.paths[0].parent for pictures in (demo_frames, demo_photos))
    return [
        *(PRELABEL, "demo", "--data-dir", str(tmp_path / "demo")),
        *("--label-studio", str(label_studio_program)),
        *("--frames", str(frames), "--planted", str(frames.parent / "planted.json")),
        *("--people", str(people), "--visible", str(people.parent / "visible.json")),
    ]


def test_the_check_finds_every_picture_right(command, demo_frames, demo_photos, tmp_path):
    done = subprocess.run(
        [*command, "--check"], capture_output=True, text=True, timeout=600, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    for count in (len(demo_frames.paths), len(demo_photos.paths)):
        assert f"\n{count} of {count} pictures have the prediction" in done.stdout
    assert (tmp_path / "demo" / "check-logs" / "label-studio.log").is_file()


def test_the_check_fails_when_a_picture_is_not_as_it_should_be(command, tmp_path):
    planted, visible = tmp_path / "planted.json", tmp_path / "visible.json"
    planted.write_text('{"frame_0001.jpg": [{"box_xyxy": [0, 0, 2, 2], "body_part": "hand"}]}')
    visible.write_text('{"coffee.jpg": [{"box_xyxy": [0, 0, 300, 400], "keypoints": {}}]}')
    arguments = [*command, "--check", "--planted", str(planted), "--visible", str(visible)]
    done = subprocess.run(arguments, capture_output=True, text=True, timeout=600, check=False)
    assert done.returncode == 1
    assert "no box over the damage at [0, 0, 2, 2]" in done.stdout
    assert "no person at [0, 0, 300, 400]" in done.stdout
    assert "1 people instead of 0" in done.stdout


def test_the_demo_stays_up_until_it_is_ended_and_can_be_started_again(command):
    ports = [free_port(), free_port()]
    command += ["--port", str(ports[0]), "--backend-port", str(ports[1])]
    first, second = (run_until_up(command, ports) for _ in range(2))
    assert first.count(" 0 were there") == 2
    assert "boxes: found something in tasks 3, 5, 7, 10, 12, 14\n" in first
    assert "poses: found something in tasks 17, 18, 20\n" in first
    assert second.count(" 0 pictures uploaded") == 2


def run_until_up(command, ports):
    """Start the demo, end it with SIGTERM once it says where it is; what it said."""
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, bufsize=1) as demo:
        patience = threading.Timer(600, demo.kill)
        patience.start()
        said = []
        for line in demo.stdout:
            said.append(line)
            if line.startswith("Ctrl-C"):
                assert httpx2.get(f"http://127.0.0.1:{ports[0]}/health").is_success
                assert httpx2.get(f"http://127.0.0.1:{ports[1]}/health").is_success
                demo.send_signal(signal.SIGTERM)
        patience.cancel()
    assert demo.returncode == 0, "".join(said)
    for port in ports:
        with pytest.raises(httpx2.ConnectError):
            httpx2.get(f"http://127.0.0.1:{port}/health")
    return "".join(said)
