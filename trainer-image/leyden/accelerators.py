"""What a Trainer computes on, as objects, which are the names that it takes."""

from __future__ import annotations

from typing import Self

import torch

from leyden.errors import MisconfigurationError

__all__ = ["Accelerator", "CPUAccelerator", "CUDAAccelerator", "find_usable_cuda_devices"]


class Accelerator(str):
    """``Trainer(accelerator=CPUAccelerator())`` is ``Trainer(accelerator="cpu")``."""

    kind = ""
    """The name that a Trainer knows it by; a class without one is refused by its own name."""

    def __new__(cls) -> Self:
        return super().__new__(cls, cls.kind or cls.__name__)

    @staticmethod
    def of(device: torch.device) -> Accelerator:
        """The one that a device belongs to."""
        return CUDAAccelerator() if device.type == "cuda" else CPUAccelerator()

    @staticmethod
    def is_available() -> bool:
        return True

    @staticmethod
    def auto_device_count() -> int:
        """Devices that ``devices="auto"`` takes."""
        return 1


class CPUAccelerator(Accelerator):
    kind = "cpu"


class CUDAAccelerator(Accelerator):
    kind = "cuda"

    @staticmethod
    def is_available() -> bool:
        return torch.cuda.is_available()

    @staticmethod
    def auto_device_count() -> int:
        return torch.cuda.device_count()


def find_usable_cuda_devices(num_devices: int = -1) -> list[int]:
    """Indices of CUDA devices that a tensor can be put on; the first ``num_devices``, or all with -1."""
    usable = [index for index in range(torch.cuda.device_count()) if _is_usable(index)]
    if num_devices > len(usable):
        raise MisconfigurationError(f"num_devices={num_devices} is not allowed: there are {len(usable)} to be used")
    return usable if num_devices == -1 else usable[:num_devices]


def _is_usable(index: int) -> bool:
    try:
        torch.zeros(1, device=f"cuda:{index}")
    except RuntimeError:  # taken by another process, in exclusive mode
        return False
    return True
