"""Children: awaited until they answer, explained when they die, stopped with all they started."""

import os
import signal
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

from prelabel.errors import OperatorError
from prelabel.launch.processes import (
    Child,
    answers,
    ending_on_signals,
    free_port,
    port_is_taken,
    watch,
)


def python(name, code, tmp_path, **environment):
    return Child.start(
        name, [sys.executable, "-c", code], log_path=tmp_path / "log", environment=environment
    )


def gone(pid):
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0]
    except FileNotFoundError:
        return True
    return state == "Z"  # dead, and only not yet buried by whoever inherited it


def wait_for(condition, timeout_s=10.0):
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, "it did not come true in time"
        time.sleep(0.02)


@pytest.fixture
def web_server():
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(int(self.path.strip("/")))
            self.end_headers()

        def log_message(self, *_):
            pass

    server = HTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.mark.parametrize(
    ("status", "expected"), [(200, True), (302, True), (401, True), (500, False)]
)
def test_whatever_is_no_server_error_counts_as_an_answer(web_server, status, expected):
    assert answers(f"{web_server}/{status}") is expected


def test_nothing_on_the_port_is_no_answer():
    assert not answers(f"http://127.0.0.1:{free_port()}/")


def test_waiting_ends_when_the_child_answers(tmp_path):
    port = free_port()
    with Child.start(
        "server",
        [sys.executable, "-m", "http.server", str(port), "--bind", "127.0.0.1"],
        log_path=tmp_path / "log",
        environment={},
    ) as child:
        child.wait_until_answers(f"http://127.0.0.1:{port}/", timeout_s=20)
        assert child.running
        assert port_is_taken("127.0.0.1", port)
    assert not child.running
    assert not port_is_taken("127.0.0.1", port)


def test_a_child_that_dies_is_reported_with_the_end_of_its_log(tmp_path):
    code = "print('first line'); print('no such database'); raise SystemExit(3)"
    with (
        python("Label Studio", code, tmp_path) as child,
        pytest.raises(
            OperatorError, match=r"(?s)Label Studio: ended with exit code 3.*no such database"
        ),
    ):
        child.wait_until_answers(f"http://127.0.0.1:{free_port()}/", timeout_s=20)


def test_a_child_that_never_answers_is_reported_with_the_end_of_its_log(tmp_path):
    code = "import time; print('still migrating', flush=True); time.sleep(60)"
    with python("Label Studio", code, tmp_path) as child:
        wait_for(lambda: "migrating" in child.last_lines())
        with pytest.raises(OperatorError, match=r"(?s)does not answer.*still migrating"):
            child.wait_until_answers(f"http://127.0.0.1:{free_port()}/", timeout_s=0.1)


def test_another_program_on_the_port_does_not_hide_the_childs_death(web_server, tmp_path):
    with python("backend", "raise SystemExit(1)", tmp_path) as child:
        wait_for(lambda: not child.running)
        with pytest.raises(OperatorError, match="ended with exit code 1"):
            child.wait_until_answers(f"{web_server}/200", timeout_s=5)


def test_a_program_that_is_not_there_is_named(tmp_path):
    with pytest.raises(OperatorError, match="no-such-program cannot be started"):
        Child.start("x", ["no-such-program"], log_path=tmp_path / "logs" / "x", environment={})


def test_a_log_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    place = tmp_path / "file" / "logs" / "backend.log"
    with pytest.raises(OperatorError, match=r"backend\.log: cannot be written \(Not a directory\)"):
        Child.start("backend", [sys.executable], log_path=place, environment={})


def test_the_environment_reaches_the_child(tmp_path):
    child = python("x", "import os; print(os.environ['COLOUR'])", tmp_path, COLOUR="green")
    with child:
        wait_for(lambda: not child.running)
    assert child.last_lines() == "green"


def test_stopping_takes_the_grandchildren_along(tmp_path):
    code = (
        "import subprocess, sys, time\n"
        "p = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(60)'])\n"
        "print(p.pid, flush=True); time.sleep(60)"
    )
    with python("parent", code, tmp_path) as child:
        wait_for(child.last_lines)
        grandchild = int(child.last_lines())
    wait_for(lambda: gone(grandchild))


def test_a_child_that_ignores_the_request_is_ended_by_force(tmp_path):
    code = (
        "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
        "print('deaf', flush=True); time.sleep(60)"
    )
    child = python("deaf", code, tmp_path)
    wait_for(child.last_lines)
    child.stop(grace_s=0.2)
    assert child.exit_code == -signal.SIGKILL


def test_ctrl_c_in_the_terminal_does_not_reach_the_children(tmp_path):
    with python(
        "x", "import os, time; print(os.getpgrp(), flush=True); time.sleep(60)", tmp_path
    ) as child:
        wait_for(child.last_lines)
        assert int(child.last_lines()) != os.getpgrp()


def test_watching_ends_with_the_first_child_that_dies(tmp_path):
    (tmp_path / "a").mkdir()
    with (
        python("stays", "import time; time.sleep(60)", tmp_path / "a") as stays,
        python("goes", "raise SystemExit(7)", tmp_path) as goes,
        pytest.raises(OperatorError, match="goes: ended with exit code 7"),
    ):
        watch([stays, goes])


def test_sigterm_ends_the_program_as_ctrl_c_does_and_only_inside():
    before = signal.getsignal(signal.SIGTERM)
    with ending_on_signals(), pytest.raises(KeyboardInterrupt):
        signal.raise_signal(signal.SIGTERM)
    assert signal.getsignal(signal.SIGTERM) == before


def test_a_signal_is_heard_that_does_not_interrupt_the_wait_for_it(tmp_path):
    # Taken by another thread, as if it had come just before the main thread began to wait.
    code = """if True:
        import signal, threading, time
        from prelabel.launch.processes import await_signal, ending_on_signals

        def signalled():
            time.sleep(0.2)
            signal.pthread_kill(threading.get_ident(), signal.SIGTERM)

        threading.Thread(target=signalled, daemon=True).start()
        try:
            with ending_on_signals():
                await_signal()
        except KeyboardInterrupt:
            raise SystemExit(3)
        """
    with python("waiting", code, tmp_path) as child:
        wait_for(lambda: not child.running)
        assert child.exit_code == 3
