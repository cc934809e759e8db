"""A run's counters in the form of Lightning's loops, and back, so that each resumes what the other has saved."""

from __future__ import annotations

from typing import Any

from leyden.run_state import RunState

STAGES = ("ready", "started", "processed", "completed")
LOADERS = "combined_loader"


def to_loops(state: RunState, closed: bool, automatic: bool, loaders: list[Any]) -> dict[str, Any]:
    """``checkpoint["loops"]`` as Lightning reads it. ``closed``: the epoch's end is behind the run. ``loaders``: the
    states of training loaders that have one.

    In mid-epoch it looks as it does in Lightning's ``on_train_batch_end``: processed and not yet completed.
    """
    middle = int(not state.epoch_done)
    epochs = (state.epoch + 1, state.epoch + 1, state.epoch + 1 - middle, state.epoch + (closed and not middle))
    batches = {
        "current": _counts(state.batch_idx, state.batch_idx - middle),
        "total": _counts(state.batches, state.batches - middle),
        "is_last_batch": state.epoch_done,
    }
    by_loop, by_hand = (state.global_step, 0) if automatic else (0, state.global_step)
    fit = {
        "state_dict": {LOADERS: loaders} if loaders else {},
        "epoch_progress": {key: dict(zip(STAGES, epochs, strict=True)) for key in ("current", "total")},
        "epoch_loop.state_dict": {"_batches_that_stepped": state.batches_stepped - middle},
        "epoch_loop.batch_progress": batches,
        "epoch_loop.automatic_optimization.optim_progress": {
            "optimizer": {
                "step": _steps(by_loop, "ready", "completed"),
                "zero_grad": _steps(state.global_step, "ready", "started", "completed"),
            }
        },
        "epoch_loop.manual_optimization.optim_step_progress": _steps(by_hand, "ready", "completed"),
    }
    return {"fit_loop": fit, "validate_loop": {}, "test_loop": {}, "predict_loop": {}}


def _counts(count: int, completed: int) -> dict[str, int]:
    return {**dict.fromkeys(STAGES, count), "completed": max(0, completed)}


def _steps(total: int, *stages: str) -> dict[str, dict[str, int]]:
    return {"current": dict.fromkeys(stages, 0), "total": dict.fromkeys(stages, total)}


def from_loops(checkpoint: dict[str, Any]) -> RunState:
    """Where the run stood that Lightning saved. Without ``loops``, only its epoch and steps are known."""
    state = RunState(epoch=checkpoint.get("epoch", 0), global_step=checkpoint.get("global_step", 0))
    fit = checkpoint.get("loops", {}).get("fit_loop", {})
    if "epoch_progress" not in fit or "epoch_loop.batch_progress" not in fit:
        return state
    epochs, batches = fit["epoch_progress"]["current"], fit["epoch_loop.batch_progress"]
    state.epoch_done = epochs["processed"] >= epochs["ready"] > 0
    state.epoch = max(0, epochs["processed"] - state.epoch_done)
    state.batch_idx = batches["current"]["processed"]
    state.batches = batches["total"]["processed"]
    unfinished = batches["total"]["processed"] > batches["total"]["completed"]
    state.batches_stepped = fit.get("epoch_loop.state_dict", {}).get("_batches_that_stepped", 0) + unfinished
    return state


def loaders_of(checkpoint: dict[str, Any]) -> list[Any]:
    """The states of training loaders that have one, where Lightning saves those of rank 0."""
    found: list[Any] = checkpoint.get("loops", {}).get("fit_loop", {}).get("state_dict", {}).get(LOADERS, [])
    return found
