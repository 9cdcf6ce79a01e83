"""Label Studio and prelabel on one machine, as a real container engine runs docker-compose.yml.

Commands are copied from docs/containers.md; what is other than there is said where it is so.
The images beside prelabel's own are stand-ins: see tests/deploy/stand_ins.py.
"""

import re

import pytest

from .containers_page import assert_all_is_well, assert_no_trouble, block, in_the_text

pytestmark = pytest.mark.deploy


@pytest.fixture(scope="module")
def on_one_machine(deployable, types):
    """Started as the page has it; the test script waits until it is up."""
    up, check = block("docker compose up -d").splitlines()
    types(f"{up} || {{ docker compose logs; exit 1; }}")
    yield check
    types(in_the_text("docker compose down --volumes"))


def test_on_one_machine_all_is_well(on_one_machine, types):
    assert_all_is_well(types(on_one_machine))


def test_a_project_is_connected_from_inside_and_is_there_after_down_and_up(on_one_machine, types):
    connect = block("docker compose exec ml-backend").replace("exec ", "exec -T ")
    made = types(connect)
    (number,) = re.findall(r"^project .*\(id (\d+)\)", made, re.MULTILINE)
    types("docker compose down\ndocker compose up -d --wait")
    assert f"(id {number})" in types(connect)
    assert types("docker compose exec -T ml-backend sh -c 'ls /data'").split()


def test_images_are_shared_as_the_page_copies_them(on_one_machine, types):
    types("cp -r examples/demo/frames frames")
    types(in_the_text("docker compose cp frames"))
    shared = types("docker compose exec -T ml-backend ls /label-studio/files/frames").split()
    assert shared == types("ls frames").split()
    types("rm -r frames")


def test_nothing_went_wrong_on_one_machine(on_one_machine, types):
    assert_no_trouble(types("docker compose logs --no-color ml-backend"))
