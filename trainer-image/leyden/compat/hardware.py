"""What libraries look up before a Trainer does: registries of accelerators and strategies, and what ``auto`` means."""

from __future__ import annotations

from typing import Any

from leyden.accelerators import Accelerator, CPUAccelerator, CUDAAccelerator, find_usable_cuda_devices
from leyden.strategies import DDPStrategy, FSDPStrategy, SingleDeviceStrategy, Strategy
from leyden.strategies.choice import STRATEGIES, choose_accelerator, device_indices
from leyden.strategies.xla import SingleDeviceXLAStrategy

__all__ = [
    "ACCELERATOR_REGISTRY",
    "Accelerator",
    "AcceleratorRegistry",
    "CPUAccelerator",
    "CUDAAccelerator",
    "DDPStrategy",
    "FSDPStrategy",
    "SingleDeviceStrategy",
    "SingleDeviceXLAStrategy",
    "Strategy",
    "StrategyRegistry",
    "_AcceleratorConnector",
    "find_usable_cuda_devices",
    "is_cuda_available",
    "num_cuda_devices",
]


class Registry(dict[str, Any]):
    """Names and what others registered for them. A Trainer takes those that it has itself and refuses the rest."""

    def register(self, name: str, provider: Any = None, description: str = "", **init_params: Any) -> Any:
        """Note a name; also as a decorator. ``description`` and ``init_params`` have no effect."""
        if provider is None:
            return lambda decorated: self.register(name, decorated)
        self[name] = provider
        return provider

    def remove(self, name: str) -> None:
        del self[name]

    def available_accelerators(self) -> list[str]:
        """All names in order, those that others registered among them."""
        return sorted(self)

    available_strategies = available_accelerators


AcceleratorRegistry = Registry({"cpu": CPUAccelerator, "cuda": CUDAAccelerator})
ACCELERATOR_REGISTRY = AcceleratorRegistry
StrategyRegistry = Registry(STRATEGIES)


num_cuda_devices = CUDAAccelerator.auto_device_count
is_cuda_available = CUDAAccelerator.is_available


class _AcceleratorConnector:
    """The accelerator and the devices that a Trainer takes for these arguments; scvi-tools and rl4co ask for them.

    ``_devices_flag`` is a number with CPUs, and a list of indices with CUDA devices, as in Lightning.
    """

    def __init__(self, devices: Any = "auto", num_nodes: int = 1, accelerator: Any = "auto", **others: Any) -> None:
        kind = choose_accelerator(accelerator)
        self._accelerator_flag = "tpu" if kind == "xla" else kind
        self._devices_flag: Any
        if kind == "cuda":
            available = num_cuda_devices()
            self._devices_flag = device_indices(devices, available) or list(range(available))
        else:
            self._devices_flag = len(device_indices(devices, None) or [0])

    @staticmethod
    def _choose_auto_accelerator() -> str:
        return choose_accelerator("auto")
