"""A copy of a checkpoint's contents in host memory, so that training may change the originals."""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import Tensor


class Staging:
    """Copies contents into buffers that are kept, because memory that is new costs more than the copy itself.

    What shares memory in the contents shares it in the copy. The next copy overwrites the last.
    """

    def __init__(self) -> None:
        self._buffers: list[Tensor] = []
        self._used = 0
        self._copied: dict[int, torch.UntypedStorage] = {}
        self._sources: set[torch.device] = set()

    def copy(self, contents: Any) -> Any:
        """The contents with every tensor in host memory. Returns when the copies are done."""
        self._used = 0
        self._copied = {}
        staged = self._copy(contents)
        del self._buffers[self._used :]
        self._copied = {}
        for device in self._sources:  # whose copies may be under way still
            torch.cuda.current_stream(device).synchronize()
        self._sources.clear()
        return staged

    def _copy(self, value: Any) -> Any:
        if isinstance(value, Tensor):
            return self._tensor(value.detach())
        if isinstance(value, dict):
            staged = copy.copy(value)  # keeps the type, and what ``state_dict()`` says beside its tensors
            for key, item in value.items():
                staged[key] = self._copy(item)
            return staged
        if isinstance(value, (list, tuple)) and type(value) in (list, tuple):
            return type(value)(self._copy(item) for item in value)
        return copy.deepcopy(value)

    def _tensor(self, tensor: Tensor) -> Tensor:
        plain = type(tensor) is Tensor and tensor.layout == torch.strided and tensor.device.type in ("cpu", "cuda")
        if not plain or tensor.is_quantized or tensor.is_conj() or tensor.is_neg():
            return tensor.to("cpu", copy=True)
        storage = tensor.untyped_storage()
        key = storage._cdata
        if key not in self._copied:
            self._copied[key] = self._storage(storage)
        staged = torch.empty(0, dtype=tensor.dtype)
        return staged.set_(self._copied[key], tensor.storage_offset(), tensor.size(), tensor.stride())

    def _storage(self, storage: torch.UntypedStorage) -> torch.UntypedStorage:
        """The storages of a run come in the same order each time, so the buffer at the same place fits."""
        count, pinned = storage.nbytes(), storage.device.type == "cuda"
        if self._used == len(self._buffers) or self._buffers[self._used].numel() != count:
            self._buffers[self._used : self._used + 1] = [torch.empty(count, dtype=torch.uint8, pin_memory=pinned)]
        buffer = self._buffers[self._used]
        self._used += 1
        source = torch.empty(0, dtype=torch.uint8, device=storage.device).set_(storage)
        buffer.copy_(source, non_blocking=pinned)
        if pinned:
            self._sources.add(storage.device)
        return buffer.untyped_storage()
