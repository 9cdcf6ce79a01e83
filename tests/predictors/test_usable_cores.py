"""How many cores models may use, in a container with a limit as well."""

import os

import pytest

from prelabel.predictors.cores import usable_cores

HERE = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()


def written(folder, files):
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    return folder


@pytest.mark.parametrize(
    "files",
    [
        {},
        {"cpu.max": "max 100000\n"},
        {"cpu.max": "9900000 100000\n"},
        {"cpu.max": "nonsense"},
        {"cpu/cpu.cfs_quota_us": "-1\n", "cpu/cpu.cfs_period_us": "100000\n"},
    ],
)
def test_without_a_limit_every_core_of_the_process_is_used(tmp_path, files):
    assert usable_cores(written(tmp_path, files)) == HERE


@pytest.mark.parametrize("quota", ["100000", "50000", "199999"])
def test_a_container_with_the_time_of_one_core_uses_one(tmp_path, quota):
    assert usable_cores(written(tmp_path / "v2", {"cpu.max": f"{quota} 100000\n"})) == 1
    old = {"cpu/cpu.cfs_quota_us": quota, "cpu/cpu.cfs_period_us": "100000"}
    assert usable_cores(written(tmp_path / "v1", old)) == 1
