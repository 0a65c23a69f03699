"""The processor time that control groups (cgroups) grant: how Linux limits a container.

``cpu.max`` (version 2) and ``cpu.cfs_quota_us`` (version 1) say how many microseconds of processor
time a group may use in each period. The limits of the groups around it hold as well. Sources: the
kernel's documentation (``cgroup-v2.rst``, ``sched-bwc.rst``) and proc(5) for ``mountinfo``.
"""

from collections.abc import Iterator
from pathlib import Path, PurePosixPath


def cores(process: Path = Path("/proc/self")) -> float | None:
    """The cores' worth of processor time that this process gets, or None without a limit.

    process: its folder in ``/proc``; a system without it has no control groups.
    """
    limits = [limit for folder in _groups(process) if (limit := _limit(folder)) is not None]
    return min(limits, default=None)


def _groups(process: Path) -> Iterator[Path]:
    """Folders of the groups that the process is in, with all groups around them."""
    try:
        groups = (process / "cgroup").read_text()
        mounts = (process / "mountinfo").read_text()
    except OSError:
        return
    # A line is ``number:controllers:path``; version 2 has no controllers.
    paths = {name: path for _, name, path in (line.split(":", 2) for line in groups.splitlines())}
    for line in mounts.splitlines():
        before, _, after = line.partition(" - ")
        root, mount_point = (name.replace("\\040", " ") for name in before.split()[3:5])
        kind, options = after.split()[0], after.split()[-1].split(",")
        for controllers, path in paths.items():
            processor = "cpu" in controllers.split(",") and "cpu" in options
            if (kind == "cgroup2" and not controllers) or (kind == "cgroup" and processor):
                yield from _from(Path(mount_point), PurePosixPath(path), root)


def _from(mount_point: Path, group: PurePosixPath, root: str) -> Iterator[Path]:
    """The folder of ``root``, which is mounted, and those from there down to the group's own."""
    yield mount_point
    # A container may see the host's path of its group, but only its own part of the tree.
    for part in group.relative_to(root).parts if group.is_relative_to(root) else ():
        mount_point /= part
        yield mount_point


def _limit(group: Path) -> float | None:
    """Cores that one group's own setting grants; None without a limit, or without this group."""
    try:
        if (group / "cpu.max").exists():
            quota, period = (group / "cpu.max").read_text().split()
        else:
            quota = (group / "cpu.cfs_quota_us").read_text()
            period = (group / "cpu.cfs_period_us").read_text()
        return int(quota) / int(period) if int(quota) > 0 else None
    except (OSError, ValueError):  # "max" is no number
        return None
