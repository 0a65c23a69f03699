"""Cores that a container grants, what 8-bit products are like, and which libraries are used."""

import ast
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tutorial_utils.core import cgroups, machine

HERE = """22 27 0:21 / /proc rw,relatime - proc proc rw
27 1 254:0 / / rw,relatime shared:1 - ext4 /dev/vda rw,discard
"""
V1 = Path("/sys/fs/cgroup/cpu")


def process(tmp_path: Path, groups: str, mounts: str, limits: dict[str, str]) -> Path:
    """A folder like ``/proc/self``; ``{}`` in mounts is where ``limits`` (file → text) are."""
    folder, tree = tmp_path / "proc", tmp_path / "tree"
    folder.mkdir()
    (folder / "cgroup").write_text(groups)
    (folder / "mountinfo").write_text(HERE + mounts.replace("{}", str(tree)))
    for name, text in limits.items():
        (tree / name).parent.mkdir(parents=True, exist_ok=True)
        (tree / name).write_text(f"{text}\n")
    return folder


V2_MOUNT = "35 25 0:28 / {} ro,nosuid - cgroup2 cgroup rw,nsdelegate\n"
V1_MOUNTS = (
    "36 35 0:30 / {}/memory ro,nosuid - cgroup cgroup rw,memory\n"
    "37 35 0:31 / {}/cpu,cpuacct ro,nosuid - cgroup cgroup rw,cpu,cpuacct\n"
)
V1_GROUPS = "4:memory:/pod/a\n3:cpu,cpuacct:/pod/a\n2:cpuset:/pod/a\n"


@pytest.mark.parametrize(
    ("limits", "cores"),
    [
        ({"cpu.max": "max 100000"}, None),
        ({"cpu.max": "200000 100000"}, 2.0),  # the container's own tree: the root has the limit
        ({"pod/a/cpu.max": "150000 100000"}, 1.5),
        ({"pod/a/cpu.max": "max 100000", "pod/cpu.max": "50000 100000"}, 0.5),
        ({"pod/a/cpu.max": "50000 100000", "pod/cpu.max": "400000 100000"}, 0.5),
        ({"pod/b/cpu.max": "50000 100000"}, None),  # of a neighbour
        ({}, None),
    ],
)
def test_version_2_limits_of_the_group_and_those_around_it(tmp_path, limits, cores):
    assert cgroups.cores(process(tmp_path, "0::/pod/a\n", V2_MOUNT, limits)) == cores


@pytest.mark.parametrize(
    ("own", "around", "cores"),
    [("-1", "-1", None), ("300000", "-1", 3.0), ("-1", "25000", 0.25), ("300000", "200000", 2.0)],
)
def test_version_1_limits_of_the_group_and_those_around_it(tmp_path, own, around, cores):
    limits = {}
    for folder, quota in (("pod/a", own), ("pod", around)):
        limits[f"cpu,cpuacct/{folder}/cpu.cfs_quota_us"] = quota
        limits[f"cpu,cpuacct/{folder}/cpu.cfs_period_us"] = "100000"
    assert cgroups.cores(process(tmp_path, V1_GROUPS, V1_MOUNTS, limits)) == cores


def test_a_container_that_sees_the_path_of_the_host(tmp_path):
    """Docker with version 1: its part of the tree is mounted where the whole usually is."""
    mount = "37 35 0:31 /docker/1f {}/cpu ro - cgroup cgroup rw,cpu\n"
    limits = {"cpu/cpu.cfs_quota_us": "150000", "cpu/cpu.cfs_period_us": "100000"}
    folder = process(tmp_path, "3:cpu:/docker/1f\n0::/docker/1f\n", mount, limits)
    assert cgroups.cores(folder) == 1.5


def test_both_versions_at_once_and_a_folder_with_a_space(tmp_path):
    mounts = (
        "36 35 0:30 / {}/uni\\040fied rw - cgroup2 none rw\n"
        "37 35 0:31 / {}/cpu rw - cgroup  rw,cpu\n"  # a source may be empty
    )
    limits = {
        "uni fied/a/cpu.max": "300000 100000",
        "cpu/b/cpu.cfs_quota_us": "400000",
        "cpu/b/cpu.cfs_period_us": "100000",
    }
    assert cgroups.cores(process(tmp_path, "1:cpu:/b\n0::/a\n", mounts, limits)) == 3.0


def test_without_control_groups_there_is_no_limit(tmp_path):
    assert cgroups.cores(tmp_path) is None


def test_part_of_a_core_counts_as_one_and_the_affinity_still_holds(monkeypatch):
    monkeypatch.delenv("TUTORIAL_CORES", raising=False)
    usable = machine.cores()
    for granted, cores in ((0.1, 1), (1.0, 1), (1.01, min(2, usable)), (10_000.0, usable)):
        monkeypatch.setattr(cgroups, "cores", lambda granted=granted: granted)
        assert machine.cores() == cores


@pytest.mark.skipif(
    not (os.access(V1, os.W_OK) and (V1 / "cpu.cfs_quota_us").exists()) or machine.cores() < 2,
    reason="needs two cores and the right to make a control group",
)
def test_a_real_control_group_limits_a_process():
    group = V1 / f"tutorial-{os.getpid()}"
    group.mkdir()
    try:
        (group / "cpu.cfs_quota_us").write_text("60000")
        code = (
            f"import os; open({str(group / 'cgroup.procs')!r}, 'w').write(str(os.getpid()));"
            "from tutorial_utils.core import cgroups, machine;"
            "print(cgroups.cores(), machine.cores())"
        )
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
        assert done.stdout.split() == ["0.6", "1"], done.stderr
    finally:
        group.rmdir()


def test_the_version_is_that_of_the_onnxruntime_that_is_imported(tmp_path):
    (tmp_path / "onnxruntime").mkdir()
    (tmp_path / "onnxruntime" / "__init__.py").touch()
    about = tmp_path / "onnxruntime_openvino-1.2.3.dist-info"
    about.mkdir()
    (about / "METADATA").write_text("Name: onnxruntime-openvino\nVersion: 1.2.3\n")
    asked = "from tutorial_utils.core import machine; print(sorted(machine.versions()))"

    def runtimes(*before: str) -> list[str]:
        path = os.pathsep.join([*before, *sys.path])
        told = subprocess.run(
            [sys.executable, "-c", asked], env=os.environ | {"PYTHONPATH": path},
            check=True, capture_output=True, text=True,
        )  # fmt: skip
        return [name for name in ast.literal_eval(told.stdout) if name in machine.RUNTIMES]

    here = runtimes()
    assert [name for name in machine.versions() if name in machine.RUNTIMES] == here != []
    assert runtimes(str(tmp_path)) == ["onnxruntime-openvino"]
