"""A copy of a checkpoint's contents in host memory, so that training may change the originals."""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import Tensor

from leyden.checkpoint.plain import NUMBERS


class Staging:
    """Copies contents into buffers that are kept, because memory that is new costs more than the copy itself.

    What shares memory in the contents shares it in the copy. The next copy overwrites the last.
    """

    def __init__(self) -> None:
        self._buffers: list[Tensor] = []
        self._copied: dict[int, Tensor] = {}
        """The buffers of the copy that is being made, by the storages that are in them."""
        self._sources: list[Tensor] = []
        """The bytes of those storages."""

    def copy(self, contents: Any) -> Any:
        """The contents with every tensor in host memory. Returns when the copies are done."""
        self._copied, self._sources = {}, []
        staged = self._copy(contents)
        self._buffers = list(self._copied.values())
        if self._sources:
            torch._foreach_copy_(self._buffers, self._sources, non_blocking=True)
        for device in {source.device for source in self._sources if source.is_cuda}:
            torch.cuda.current_stream(device).synchronize()
        self._sources = []
        return staged

    def close(self) -> None:
        """Let go of the buffers. Pinned ones go back to the system: torch would keep them, and at the end of a run the
        module and its optimizers' states need as much memory on the host."""
        pinned = any(buffer.is_pinned() for buffer in self._buffers)
        self._buffers, self._copied, self._sources = [], {}, []
        if pinned:
            torch.accelerator.empty_host_cache()

    def _copy(self, value: Any) -> Any:
        if type(value) in NUMBERS:  # most are, and none can change
            return value
        if isinstance(value, Tensor):
            return self._tensor(value.detach())
        if isinstance(value, dict):
            staged = copy.copy(value)  # keeps the type, and what ``state_dict()`` says beside its tensors
            for key, item in value.items():
                staged[key] = self._copy(item)
            return staged
        if type(value) in (list, tuple):
            return type(value)([self._copy(item) for item in value])
        return copy.deepcopy(value)

    def _tensor(self, tensor: Tensor) -> Tensor:
        plain = type(tensor) is Tensor and tensor.layout == torch.strided and tensor.device.type in ("cpu", "cuda")
        if not plain or tensor.is_quantized or tensor.is_conj() or tensor.is_neg():
            return tensor.to("cpu", copy=True)
        storage = tensor.untyped_storage()
        key = storage._cdata
        if key not in self._copied:
            self._copied[key] = self._buffer(storage)
            self._sources.append(torch.empty(0, dtype=torch.uint8, device=storage.device).set_(storage))
        staged = torch.empty(0, dtype=tensor.dtype)
        return staged.set_(self._copied[key].untyped_storage(), tensor.storage_offset(), tensor.size(), tensor.stride())

    def _buffer(self, storage: torch.UntypedStorage) -> Tensor:
        """Host memory for a storage's bytes. Those of a run come in the same order each time, so that buffers fit."""
        count, place = storage.nbytes(), len(self._copied)
        if place < len(self._buffers) and self._buffers[place].numel() == count:
            return self._buffers[place]
        return torch.empty(count, dtype=torch.uint8, pin_memory=storage.device.type == "cuda")
