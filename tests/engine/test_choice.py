"""Which strategy, device and place a Trainer takes, by its arguments and by who started the process."""

from __future__ import annotations

import sys
from datetime import timedelta
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any

import pytest
import torch
from torch import nn

import leyden as L
from engine.programs import ON_CPU, Regression, loader, same, weights
from leyden import environments
from leyden.environments import World
from leyden.errors import MisconfigurationError
from leyden.precision import Precision
from leyden.strategies import DDPStrategy, FSDPStrategy, SingleDeviceStrategy
from leyden.strategies.choice import device_indices
from leyden.strategies.fsdp import layers_to_wrap

TORCHRUN = {"RANK": "3", "LOCAL_RANK": "1", "WORLD_SIZE": "4", "MASTER_ADDR": "a", "MASTER_PORT": "1"}
SRUN = {
    "SLURM_JOB_NAME": "train",
    "SLURM_JOB_ID": "4217",
    "SLURM_STEP_ID": "0",
    "SLURM_NTASKS": "7",
    "SLURM_PROCID": "5",
    "SLURM_LOCALID": "1",
    "SLURM_NODEID": "1",
    "SLURM_STEP_TASKS_PER_NODE": "4,3",
    "SLURM_STEP_NODELIST": "gpu[07-09],login",
}


def without(variables: dict[str, str], *names: str) -> dict[str, str]:
    return {name: value for name, value in variables.items() if name not in names}


@pytest.mark.parametrize(
    ("variables", "world", "master"),
    [
        pytest.param(TORCHRUN, World(3, 1, 4, 1), "a:1", id="torchrun"),
        pytest.param({**TORCHRUN, "LOCAL_WORLD_SIZE": "2"}, World(3, 1, 4, 2), "a:1", id="torchrun-on-several-nodes"),
        pytest.param(SRUN, World(5, 1, 7, 3), "gpu07:19217", id="srun"),
        pytest.param({**SRUN, **TORCHRUN}, World(3, 1, 4, 1), "a:1", id="torchrun-inside-srun"),
        pytest.param({**SRUN, "MASTER_ADDR": "b", "MASTER_PORT": "2"}, World(5, 1, 7, 3), "b:2", id="own-address"),
        pytest.param({**SRUN, "SLURM_STEP_TASKS_PER_NODE": "3(x2),1"}, World(5, 1, 7, 3), "gpu07:19217", id="repeated"),
        pytest.param(without(SRUN, "SLURM_STEP_TASKS_PER_NODE"), World(5, 1, 7, 7), "gpu07:19217", id="one-node"),
    ],
)
def test_the_place_that_a_launcher_gives(variables: dict[str, str], world: World, master: str) -> None:
    found = environments.launched(variables)
    assert found is not None
    assert World.of(found) == world
    assert f"{found['MASTER_ADDR']}:{found['MASTER_PORT']}" == master


@pytest.mark.parametrize(
    "variables",
    [
        pytest.param({}, id="nothing"),
        pytest.param(without(TORCHRUN, "RANK"), id="half-of-torchrun"),
        pytest.param({**SRUN, "SLURM_JOB_NAME": "bash"}, id="srun-pty-bash"),
        pytest.param({**SRUN, "SLURM_JOB_NAME": "interactive"}, id="salloc"),
        pytest.param(without(SRUN, "SLURM_STEP_ID"), id="batch-script-without-srun"),
    ],
)
def test_no_launcher_started_this(variables: dict[str, str]) -> None:
    assert environments.launched(variables) is None


@pytest.mark.parametrize(
    ("nodes", "first"),
    [
        ("one", "one"),
        ("one,two", "one"),
        ("gpu[1-3]", "gpu1"),
        ("gpu[07,09-12],x", "gpu07"),
        ("gpu-[3].cluster", "gpu-3.cluster"),
        ("10.0.0.1 10.0.0.2", "10.0.0.1"),
    ],
)
def test_the_first_host_of_a_list(nodes: str, first: str) -> None:
    assert environments.first_host(nodes) == first


@pytest.mark.parametrize(
    ("devices", "available", "indices"),
    [
        ("auto", None, None),
        (-1, 8, None),
        ("-1", 8, None),
        (2, 8, [0, 1]),
        ("2", None, [0, 1]),
        ([1, 3], 8, [1, 3]),
        ("1,3", 8, [1, 3]),
        ("3,", 8, [3]),
    ],
)
def test_device_indices(devices: Any, available: int | None, indices: list[int] | None) -> None:
    assert device_indices(devices, available) == indices


class Cluster:
    """What Lightning's ClusterEnvironment has."""

    main_address = "127.0.0.1"
    main_port = 29400

    def global_rank(self) -> int:
        return 2

    def local_rank(self) -> int:
        return 0

    def world_size(self) -> int:
        return 4


@pytest.mark.parametrize(
    ("options", "environ", "sentence"),
    [
        ({"devices": 0}, {}, "devices=0 .* at least 1"),
        ({"devices": "two"}, {}, "devices='two' .* list of different device indices"),
        ({"devices": [1, 1]}, {}, r"devices=\[1, 1\] .* different"),
        ({"devices": True}, {}, "devices=True"),
        ({"devices": 3}, {**TORCHRUN, "LOCAL_WORLD_SIZE": "2"}, "devices=3 does not fit: this node runs 2 process"),
        ({"devices": 4, "num_nodes": 2}, SRUN, "devices=4 does not fit: this node runs 3"),
        ({"devices": 3, "num_nodes": 2}, SRUN, "num_nodes=2 does not fit: the launcher started 7 .*SLURM_NTASKS"),
        ({"num_nodes": 0}, {}, "num_nodes=0 .* at least 1"),
        ({"num_nodes": 2}, {}, "num_nodes=2 needs a launcher on every node.*NODE_RANK, MASTER_ADDR, MASTER_PORT"),
        ({}, {**TORCHRUN, "WORLD_SIZE": "four"}, "WORLD_SIZE='four'"),
        ({"strategy": "ddp_spawn"}, {}, "strategy='ddp_spawn' .* 'ddp', which runs the script once more"),
        ({"strategy": "ddp_notebook_find_unused_parameters_true"}, {}, "must be 'ddp'"),
        ({"strategy": "deepspeed"}, {}, "one of 'auto', 'single_device', 'ddp'"),
        ({"strategy": "single_device", "devices": 2}, {}, "'auto', 'ddp' or 'fsdp' with 2 processes"),
        ({"accelerator": "mps"}, {}, "accelerator='mps' .* Apple"),
        ({"accelerator": "tpu"}, {}, "accelerator='tpu' .* torch_xla"),
        ({"accelerator": "npu"}, {}, "accelerator='npu' .* one of 'auto', 'cpu'"),
        ({"strategy": "fsdp", "precision": "16-mixed"}, {}, "precision='16-mixed' .* bf16-mixed.* with FSDPStrategy"),
        ({"sync_batchnorm": True, "devices": 2}, {}, "sync_batchnorm=True .* CUDA"),
        ({"plugins": "x"}, {}, "plugins='str' .*Precision, or an object with main_address"),
        ({"plugins": [Precision(32), Precision(64)]}, {}, "two that decide on the precision"),
        ({"plugins": Precision(64), "precision": 32}, {}, "precision=32 and a precision among the plugins"),
    ],
)
def test_what_the_user_must_change(
    options: dict[str, Any], environ: dict[str, str], sentence: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in environ.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(MisconfigurationError, match=sentence):
        L.Trainer(**{**ON_CPU, **options})


def test_a_notebook_cannot_be_run_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "ps1", ">>> ", raising=False)
    with pytest.raises(MisconfigurationError, match=r"devices=2 needs a program .* move it to a script"):
        L.Trainer(devices=2, **ON_CPU)
    assert L.Trainer(**ON_CPU).world_size == 1


@pytest.mark.parametrize(
    ("options", "kind", "world"),
    [
        ({}, SingleDeviceStrategy, World()),
        ({"devices": 2}, DDPStrategy, World(0, 0, 2, 2)),
        ({"devices": [0, 1, 2], "strategy": "fsdp"}, FSDPStrategy, World(0, 0, 3, 3)),
        ({"devices": 1, "strategy": "ddp"}, DDPStrategy, World()),
        ({"devices": 2, "strategy": DDPStrategy(timeout=timedelta(seconds=9))}, DDPStrategy, World(0, 0, 2, 2)),
    ],
)
def test_a_process_by_itself(options: dict[str, Any], kind: type, world: World) -> None:
    trainer = L.Trainer(**ON_CPU, **options)
    assert type(trainer.strategy) is kind and trainer.strategy.world == world
    assert (trainer.num_devices, trainer.num_nodes) == (world.local_world_size, 1)


def test_nodes_that_are_started_one_by_one(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {"NODE_RANK": "1", "MASTER_ADDR": "a", "MASTER_PORT": "1"}.items():
        monkeypatch.setenv(name, value)
    trainer = L.Trainer(devices=2, num_nodes=3, **ON_CPU)
    assert trainer.strategy.world == World(2, 0, 6, 2)
    assert (trainer.node_rank, trainer.num_nodes) == (1, 3)


def test_a_cluster_among_the_plugins(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in (*environments.LAUNCHER_VARIABLES, "LOCAL_WORLD_SIZE"):
        monkeypatch.setenv(name, "")  # so that what the Trainer sets goes with the test
    trainer = L.Trainer(plugins=[Cluster(), Precision("bf16-mixed")], **ON_CPU)
    assert trainer.strategy.world == World(2, 0, 4, 1)
    assert trainer.precision == "bf16-mixed"


def test_an_unknown_option_of_ddp_names_the_known() -> None:
    with pytest.raises(MisconfigurationError, match=r"DDPStrategy argument='find_unused'.*'find_unused_parameters'"):
        DDPStrategy(find_unused=True)


def test_batch_norm_is_synchronised() -> None:
    strategy = DDPStrategy()
    strategy.device = torch.device("cuda")
    strategy.synchronize_batchnorm(True)
    strategy.device = torch.device("cpu")
    module = nn.Sequential(nn.Linear(2, 2), nn.Sequential(nn.BatchNorm1d(2)))
    strategy.place(module)
    assert [type(layer).__name__ for layer in module.modules() if "Norm" in type(layer).__name__] == ["SyncBatchNorm"]


def test_layers_to_wrap() -> None:
    inner, outer, head = nn.Linear(4, 4), nn.Linear(4, 5), nn.Linear(5, 1)
    block = nn.Sequential(inner, nn.ReLU())
    module = nn.Sequential(nn.ModuleList([block, block]), outer, head)
    assert layers_to_wrap(module, {nn.Linear, nn.Sequential}) == [inner, block, outer, head]
    assert layers_to_wrap(module, 20) == [inner, outer]
    assert layers_to_wrap(module, 26) == []
    for policy in (0, "Linear", [nn.Linear(1, 1)]):
        with pytest.raises(MisconfigurationError, match=r"auto_wrap_policy"):
            FSDPStrategy(auto_wrap_policy=policy)  # type: ignore[arg-type]  # on purpose


def test_a_tpu_through_torch_xla(monkeypatch: pytest.MonkeyPatch) -> None:
    """With a stand-in for torch_xla: its device is used, and each step begins by running the graph of the last."""
    synced: list[int] = []
    module = Regression(dropout=0.0)

    class Stand(ModuleType):
        def device(self) -> torch.device:
            return torch.device("cpu")

        def sync(self) -> None:
            synced.append(len(module.seen))

    stand = Stand("torch_xla")
    stand.__spec__ = ModuleSpec("torch_xla", None)
    monkeypatch.setitem(sys.modules, "torch_xla", stand)
    L.Trainer(**{**ON_CPU, "accelerator": "tpu"}, max_epochs=1).fit(module, loader(8))
    assert synced == [0, 1]
    with pytest.raises(MisconfigurationError, match=r"accelerator='tpu' .* devices=1"):
        L.Trainer(**{**ON_CPU, "accelerator": "tpu"}, devices=2)


@pytest.mark.slow
def test_a_compiled_module_trains_and_logs_as_it_is() -> None:
    def run(compiled: bool) -> tuple[dict[str, torch.Tensor], dict[str, float]]:
        torch.manual_seed(1)
        module = Regression(dropout=0.0)
        trainer = L.Trainer(max_epochs=2, **ON_CPU)
        trainer.fit(torch.compile(module) if compiled else module, loader(12), loader(6))  # type: ignore[arg-type]  # compiled, it is one still
        assert trainer.model is module
        return weights(module), {name: float(value) for name, value in trainer.callback_metrics.items()}

    plain, logged = run(compiled=False)
    compiled, logged_compiled = run(compiled=True)
    assert not same(plain, weights(Regression())) and set(plain) == set(compiled)
    for name, value in plain.items():
        torch.testing.assert_close(compiled[name], value)
    assert logged_compiled == pytest.approx(logged, rel=1e-5)
