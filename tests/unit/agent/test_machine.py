"""What the agent finds out about its pod."""

from pathlib import Path

import pytest

from leyden.agent import machine


@pytest.mark.parametrize(
    "files, cpus",
    [
        pytest.param({"cpu.max": "50000 100000"}, 0.5, id="half-a-cpu"),
        pytest.param({"cpu.max": "max 100000"}, 8.0, id="no-limit"),
        pytest.param({"cpu.max": "400000 100000"}, 4.0, id="four-cpus"),
        pytest.param({"cpu.max": "6400000 100000"}, 8.0, id="more-than-there-are"),
        pytest.param({"cpu/cpu.cfs_quota_us": "200000", "cpu/cpu.cfs_period_us": "100000"}, 2.0, id="cgroup-v1"),
        pytest.param({"cpu/cpu.cfs_quota_us": "-1", "cpu/cpu.cfs_period_us": "100000"}, 8.0, id="cgroup-v1-no-limit"),
        pytest.param({}, 8.0, id="no-cgroup"),
    ],
)
def test_cpus(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, files: dict[str, str], cpus: float) -> None:
    monkeypatch.setattr("os.sched_getaffinity", lambda _: range(8))
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    assert machine.cpus(tmp_path) == cpus


@pytest.mark.parametrize(
    "visible, count",
    [
        pytest.param("0,1,2", 3, id="three"),
        pytest.param("GPU-a,MIG-b", 2, id="by-uuid"),
        pytest.param("", 0, id="hidden"),
        pytest.param("-1", 0, id="hidden-by-minus-one"),
    ],
)
def test_gpus_that_are_made_visible(monkeypatch: pytest.MonkeyPatch, visible: str, count: int) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    assert machine.gpus() == count


@pytest.mark.parametrize(
    "listed, count",
    [
        pytest.param("GPU 0: NVIDIA H100 (UUID: x)\nGPU 1: NVIDIA H100 (UUID: y)", 2, id="whole"),
        pytest.param("GPU 0: NVIDIA H100 (UUID: x)\n  MIG 1g.10gb Device 0: (UUID: y)", 1, id="a-slice"),
    ],
)
def test_gpus_by_the_drivers_tool(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, listed: str, count: int) -> None:
    tool = tmp_path / "nvidia-smi"
    tool.write_text(f"#!/bin/sh\necho '{listed}'\n")
    tool.chmod(0o755)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.setenv("PATH", f"{tmp_path}:/bin:/usr/bin")
    assert machine.gpus() == count


@pytest.mark.parametrize(
    "files, kills",
    [
        pytest.param({"memory.events": "low 0\noom 3\noom_kill 2\n"}, 2, id="cgroup-v2"),
        pytest.param({"memory/memory.oom_control": "under_oom 0\noom_kill 1\n"}, 1, id="cgroup-v1"),
        pytest.param({}, 0, id="no-cgroup"),
    ],
)
def test_oom_kills(tmp_path: Path, files: dict[str, str], kills: int) -> None:
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    assert machine.oom_kills(tmp_path) == kills
