"""A loaded ``forward`` as a function from request bodies to answers."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch

from leyden_contract.manifest import Signature, TensorSpec
from leyden_server.arrays import Array, dtype_of, to_array
from leyden_server.errors import BadRequest, CannotServe
from leyden_server.loading import Loaded


class Model:
    """Answers one request after the other.

    Raises:
        CannotServe: the checkpoint does not say what the module takes.
    """

    def __init__(self, loaded: Loaded) -> None:
        if loaded.manifest.signature is None:
            raise CannotServe(
                "NoSignature", "the checkpoint holds no signature: set example_input_array and train again"
            )
        self.signature: Signature = loaded.manifest.signature
        self.step = loaded.manifest.step
        self.digest = loaded.digest
        self.name = loaded.manifest.module
        self.format = loaded.format
        self.device = loaded.device
        self._forward = loaded.forward
        self._types = [getattr(torch, spec.dtype) for spec in self.signature.inputs]

    def parse(self, body: Any) -> list[Array]:
        """Arrays for ``forward``, in its order, from a request's JSON.

        Raises:
            BadRequest: names the field.
        """
        if not isinstance(body, dict):
            raise BadRequest(422, 'must be an object with the field "inputs"', kind="dict_type")
        if unknown := sorted(set(body) - {"inputs"}):
            raise BadRequest(422, 'is not allowed; the only field is "inputs"', (unknown[0],), "extra_forbidden")
        if "inputs" not in body:
            raise BadRequest(422, "is missing", ("inputs",), "missing")
        inputs = body["inputs"]
        if len(self.signature.inputs) == 1:
            arrays = [to_array(inputs, self.signature.inputs[0], ("inputs",))]
        else:
            arrays = self._named(inputs)
        if len({len(array) for array in arrays}) > 1:
            sizes = ", ".join(f"{spec.name} {len(a)}" for spec, a in zip(self.signature.inputs, arrays, strict=True))
            raise BadRequest(422, f"all inputs need the same number of instances, got {sizes}", ("inputs",), "shape")
        return arrays

    def _named(self, inputs: Any) -> list[Array]:
        names = [spec.name for spec in self.signature.inputs]
        if not isinstance(inputs, dict):
            raise BadRequest(422, f"must be an object with the fields {', '.join(names)}", ("inputs",), "dict_type")
        for name in (*sorted(set(inputs) - set(names)), *(name for name in names if name not in inputs)):
            said = "is missing" if name in names else f"is not allowed; the fields are {', '.join(names)}"
            raise BadRequest(422, said, ("inputs", name), "missing" if name in names else "extra_forbidden")
        return [to_array(inputs[spec.name], spec, ("inputs", spec.name)) for spec in self.signature.inputs]

    def predict(self, arrays: Sequence[Array]) -> Any:
        """What ``forward`` answers: an array for one output, arrays by name for several."""
        with torch.inference_mode():
            given = zip(arrays, self._types, strict=True)
            tensors = [torch.from_numpy(array).to(self.device, kind) for array, kind in given]
            return self._to_outputs(self._forward(*tensors))

    def _to_outputs(self, answer: Any) -> Any:
        """By the signature's names, whether ``forward`` gave a dict, a tuple or one tensor."""
        names = [spec.name for spec in self.signature.outputs]
        if isinstance(answer, Mapping):
            answer = [answer[name] for name in names]
        arrays = [_array(value) for value in (answer if isinstance(answer, (tuple, list)) else [answer])]
        return arrays[0] if len(names) == 1 else dict(zip(names, arrays, strict=True))

    def is_lost(self) -> bool:
        """Whether the GPU answers no more, as after an index out of range: only a new process gets it back.

        See https://docs.nvidia.com/cuda/cuda-runtime-api/group__CUDART__TYPES.html on errors that are sticky.
        """
        try:
            if self.device.type == "cuda":
                torch.cuda.synchronize(self.device)
        except RuntimeError:
            return True
        return False

    def warm_up(self) -> None:
        """One answer, so that the first client does not pay for what torch does once.

        Raises:
            CannotServe: the module fails on its own signature.
        """
        try:
            self.predict([_zeros(spec) for spec in self.signature.inputs])
        except Exception as error:
            raise CannotServe("ModuleFailed", f"{self.name} fails on zeros: {type(error).__name__}: {error}") from error


def _zeros(spec: TensorSpec) -> Array:
    return np.zeros([size or 1 for size in spec.shape], dtype=dtype_of(spec))


def _array(tensor: torch.Tensor) -> Array:
    tensor = tensor.float() if tensor.dtype in (torch.bfloat16, torch.float16) else tensor
    return np.ascontiguousarray(tensor.cpu().numpy())
