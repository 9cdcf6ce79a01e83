"""How many processor cores there are for this process."""

import math
import os
from pathlib import Path


def usable_cores(control_groups: Path = Path("/sys/fs/cgroup")) -> int:
    """Cores that this process may run on, and has time for.

    Args:
        control_groups: Where Linux says how much time a container gets: more threads than that
            are made to wait, all of them, for most of each tenth of a second.
    """
    if hasattr(os, "sched_getaffinity"):
        cores = len(os.sched_getaffinity(0))
    else:
        cores = os.cpu_count() or 1
    quota = _cores_of_quota(control_groups)
    return max(min(cores, math.floor(quota)) if math.isfinite(quota) else cores, 1)


def _cores_of_quota(folder: Path) -> float:
    """How many cores' time a container may use; infinite where nobody said."""
    for names in (("cpu.max",), ("cpu/cpu.cfs_quota_us", "cpu/cpu.cfs_period_us")):
        try:
            quota, period = " ".join((folder / name).read_text("ascii") for name in names).split()
        except (OSError, ValueError):
            continue
        if quota.isdecimal() and period.isdecimal() and int(period) > 0:
            return int(quota) / int(period)
    return math.inf
