"""Nested lists of JSON to arrays and back, strictly: a wrong element is named by its path."""

from typing import Any

import numpy as np
import numpy.typing as npt

from leyden_contract.manifest import TensorSpec
from leyden_server.errors import BadRequest

Array = npt.NDArray[Any]
Path = tuple[str | int, ...]


def dtype_of(spec: TensorSpec) -> np.dtype[Any]:
    """The type of a client's numbers. There is no bfloat16 in numpy: the model casts."""
    return np.dtype("float32" if spec.dtype == "bfloat16" else spec.dtype)


def to_array(value: Any, spec: TensorSpec, where: Path) -> Array:
    """The array that a client sent for one input.

    Raises:
        BadRequest: not numbers, ragged, of the wrong shape, empty, or not representable; names the element.
    """
    wanted = dtype_of(spec)
    try:
        given = np.array(value)
    except ValueError:
        raise _ragged(value, where) from None
    if given.ndim == 0:
        raise BadRequest(
            422, f"must be nested lists of shape {shape_text(spec)}, not {_named(value)}", where, "list_type"
        )
    if not _castable(given.dtype, wanted) and given.size:
        raise _wrong_element(value, wanted, where)
    _check_shape(given, spec, where)
    with np.errstate(over="ignore", invalid="ignore"):
        cast = given.astype(wanted, copy=False)
    _check_values(given, cast, where)
    return cast


def _castable(given: np.dtype[Any], wanted: np.dtype[Any]) -> bool:
    allowed = {"f": "iuf", "i": "iu", "u": "iu", "b": "b"}[wanted.kind]
    return given.kind in allowed


def _check_shape(given: Array, spec: TensorSpec, where: Path) -> None:
    fits = given.ndim == len(spec.shape) and all(
        expected is None or expected == actual for expected, actual in zip(spec.shape, given.shape, strict=True)
    )
    if given.size == 0:
        raise BadRequest(422, f"must hold at least one instance of shape {shape_text(spec)}", where, "too_short")
    if not fits:
        got = "(" + ", ".join(map(str, given.shape)) + ")"
        raise BadRequest(422, f"expected shape {shape_text(spec)}, got {got}", where, "shape")


def _check_values(given: Array, cast: Array, where: Path) -> None:
    """Every number survived: floats are finite, integers are the same."""
    good = np.isfinite(cast) if cast.dtype.kind == "f" else cast == given
    if not good.all():
        index = tuple(int(position) for position in np.argwhere(~good)[0])
        value = given[index].item()
        raise BadRequest(422, f"{value!r} is not a finite {cast.dtype}", (*where, *index), "finite_number")


def _wrong_element(value: Any, wanted: np.dtype[Any], where: Path) -> BadRequest:
    kinds: dict[str, tuple[type, ...]] = {"f": (int, float), "i": (int,), "u": (int,), "b": (bool,)}
    allowed = kinds[wanted.kind]
    for path, element in _leaves(value, where):
        is_bool = isinstance(element, bool)
        if not isinstance(element, allowed) or is_bool != (wanted.kind == "b"):
            return BadRequest(422, f"must be a number of type {wanted}, not {_named(element)}", path, f"{wanted}_type")
    return BadRequest(422, f"must be numbers of type {wanted}", where, f"{wanted}_type")


def _ragged(value: Any, where: Path) -> BadRequest:
    """Which list differs in length or depth from the first of its siblings."""
    siblings = [(where, value)]
    while siblings:
        inner = [
            ((*path, index), each)
            for path, held in siblings
            if isinstance(held, list)
            for index, each in enumerate(held)
        ]
        lengths = [(path, len(each) if isinstance(each, list) else None) for path, each in inner]
        for path, length in lengths:
            if length != lengths[0][1]:
                first = "a number" if lengths[0][1] is None else f"{lengths[0][1]} elements"
                got = "a number" if length is None else f"{length} elements"
                return BadRequest(422, f"has {got} where its first sibling has {first}", path, "ragged")
        siblings = inner
    return BadRequest(422, "is ragged", where, "ragged")


def _leaves(value: Any, where: Path) -> list[tuple[Path, Any]]:
    if not isinstance(value, list):
        return [(where, value)]
    return [leaf for index, each in enumerate(value) for leaf in _leaves(each, (*where, index))]


def _named(value: Any) -> str:
    names = {str: "a string", bool: "a boolean", dict: "an object", type(None): "null", list: "a list"}
    return names.get(type(value), "a number")


def shape_text(spec: TensorSpec) -> str:
    """``(batch, 1, 8, 8)``; other free dimensions are ``*``."""
    free = ["batch" if position == 0 else "*" for position in range(len(spec.shape))]
    return "(" + ", ".join(free[i] if size is None else str(size) for i, size in enumerate(spec.shape)) + ")"
