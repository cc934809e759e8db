"""What programs call of ``lightning.pytorch.utilities``, ``accelerators`` and ``demos``."""

from __future__ import annotations

import inspect
import warnings
from argparse import Namespace
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import torch
from lightning.pytorch.accelerators import CPUAccelerator, CUDAAccelerator, find_usable_cuda_devices
from lightning.pytorch.demos.boring_classes import (
    DemoModel,
    ManualOptimBoringModel,
    RandomDictDataset,
    RandomIterableDatasetWithLen,
)
from lightning.pytorch.utilities import grad_norm, measure_flops, move_data_to_device, suggested_max_num_workers
from lightning.pytorch.utilities.memory import garbage_collection_cuda, is_oom_error
from lightning.pytorch.utilities.model_helpers import is_overridden
from lightning.pytorch.utilities.seed import isolate_rng
from torch.utils.data import DataLoader

from parity.models import Whole, loader
from parity.recording import Seen, program


@program
def utilities_grad_norms_are_logged(seen: Seen) -> None:
    class Normed(Whole):
        def on_before_optimizer_step(self, optimizer: Any) -> None:
            self.log_dict(grad_norm(self, norm_type=2))
            self.log_dict(grad_norm(self.network, "inf", group_separator="."))

    seen.trainer(max_epochs=1).fit(seen.watched(Normed()), loader())


@program
def utilities_know_what_is_overridden(seen: Seen) -> None:
    class Hooked(pl.Callback):
        def on_fit_start(self, *_: Any) -> None:
            pass

    seen.values["overridden"] = [
        *(is_overridden(name, Whole()) for name in ("training_step", "on_fit_start", "predict_dataloader")),
        *(is_overridden(name, Hooked()) for name in ("on_fit_start", "on_fit_end")),
        is_overridden("training_step", None),
        is_overridden("forward", Whole(), parent=torch.nn.Module),
    ]


@program
def utilities_leave_generators_alone(seen: Seen) -> None:
    with isolate_rng():
        inside = torch.rand(2)
    seen.values["numbers"] = [inside, torch.rand(2)]


@program
def utilities_count_move_and_collect(seen: Seen) -> None:
    module, batch = Whole(), torch.randn(3, 4)
    seen.values["flops"] = [
        measure_flops(module, lambda: module(batch)),
        measure_flops(module, lambda: module(batch), lambda output: output.sum()),
    ]
    seen.values["moved"] = move_data_to_device({"a": [batch, "text"], "b": (batch, 1)}, torch.device("cpu"))
    seen.values["workers"] = [suggested_max_num_workers(ranks) for ranks in (1, 1000)]
    garbage_collection_cuda()
    seen.values["memory"] = [
        is_oom_error(torch.OutOfMemoryError("CUDA out of memory.")),
        is_oom_error(RuntimeError("other")),
    ]


@program
def accelerators_are_objects_too(seen: Seen) -> None:
    seen.values["there"] = [CPUAccelerator.is_available(), CUDAAccelerator.is_available(), find_usable_cuda_devices(0)]
    seen.trainer(max_epochs=1, accelerator=CPUAccelerator()).fit(seen.watched(Whole()), loader())


@program
def demos_train(seen: Seen) -> None:
    seen.trainer(max_epochs=1).fit(seen.watched(ManualOptimBoringModel()))
    data = DataLoader(RandomIterableDatasetWithLen(32, 4), batch_size=2)
    seen.trainer(max_epochs=1).fit(seen.watched(DemoModel()), data)
    seen.values["dicts"] = [len(RandomDictDataset(4, 3)), RandomDictDataset(4, 3)[1]]


@program
def utilities_of_the_lower_half(seen: Seen) -> None:
    from lightning.fabric.loggers.logger import rank_zero_experiment
    from lightning.fabric.utilities import move_data_to_device as moved
    from lightning.fabric.utilities.cloud_io import get_filesystem
    from lightning.fabric.utilities.data import sized_len
    from lightning.fabric.utilities.exceptions import MisconfigurationException
    from lightning.fabric.utilities.logger import _add_prefix, _convert_params, _flatten_dict
    from lightning.fabric.utilities.rank_zero import WarningCache, rank_prefixed_message, rank_zero_only
    from lightning.fabric.utilities.seed import seed_everything
    from lightning.fabric.utilities.types import _PATH
    from lightning.pytorch.utilities.exceptions import MisconfigurationException as Upper
    from lightning.pytorch.utilities.parsing import get_init_args

    class Sized:
        def __init__(self, size: int = 3, **others: Any) -> None:
            size = size + 1
            self.given = get_init_args(inspect.currentframe())

    nested = {"model": {"depth": 2, "sizes": [1, 2]}, "lr": 0.1}
    seen.values["params"] = [_convert_params(None), _convert_params(Namespace(a=1)), _flatten_dict(nested)]
    seen.values["flat"] = [_flatten_dict(nested, delimiter="."), _flatten_dict({"a/b": {"c": 1}}, ".", "all")]
    seen.values["metrics"] = [_add_prefix({"loss": 0.5}, "run", "-"), _add_prefix({"loss": 0.5}, "", "-")]
    streamed = DataLoader(RandomIterableDatasetWithLen(2, 6))
    seen.values["lengths"] = [sized_len([1, 2]), sized_len(iter([1])), sized_len(streamed)]
    seen.values["rank"] = [rank_zero_only.rank, rank_prefixed_message("said", 2), rank_prefixed_message("said", None)]
    seen.values["seed"] = [seed_everything(5), float(torch.rand(1)), _PATH.__args__ == (str, Path)]
    seen.values["arguments"] = Sized(5, width=2).given
    seen.values["same"] = [issubclass(MisconfigurationException, Upper), moved([torch.ones(2)], torch.device("cpu"))]
    seen.values["files"] = get_filesystem(seen.folder).exists(str(seen.folder))
    cache = WarningCache()
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        for _ in range(2):
            cache.warn("once")
    seen.values["told"] = [str(warning.message) for warning in told]
    seen.values["experiment"] = rank_zero_experiment(lambda logger: 3)(pl.loggers.CSVLogger(seen.folder))
