"""The hooks that a module, a data module or a callback may override, and the table that calls them.

The table is bound once per run and holds only what is really overridden, so that an empty hook costs next to nothing.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from leyden.callbacks.base import Callback
    from leyden.logs import Scope
    from leyden.module import LightningModule
    from leyden.trainer import Trainer

STAGES = ("train", "validation", "test", "predict")

SHARED_HOOKS: tuple[str, ...] = (
    *(f"on_{kind}_{moment}" for kind in ("fit", *STAGES) for moment in ("start", "end")),
    *(f"on_{stage}_epoch_{moment}" for stage in STAGES for moment in ("start", "end")),
    *(f"on_{stage}_batch_{moment}" for stage in STAGES for moment in ("start", "end")),
    "on_before_zero_grad",
    "on_before_backward",
    "on_after_backward",
    "on_before_optimizer_step",
)
"""Called on every callback in order, then on the module."""

CALLBACK_HOOKS = ("on_sanity_check_start", "on_sanity_check_end", "on_exception")
MODULE_HOOKS = (
    *(f"on_{stage}_model_eval" for stage in STAGES[1:]),
    *(f"on_{stage}_model_train" for stage in STAGES[1:]),
    "on_validation_model_zero_grad",
)
EVERY_STAGE = {f"on_{stage}_epoch_{moment}": f"on_epoch_{moment}" for stage in STAGES for moment in ("start", "end")}
"""``on_epoch_start`` and ``on_epoch_end`` run with the epochs of every stage, just before the stage's own start hook
and just after its own end hook."""


def nothing(*args: Any) -> None:
    """A hook that nobody overrides."""


def in_turn(name: str, calls: Sequence[Callable[..., Any]], scope: Scope, answers: bool = False) -> Callable[..., Any]:
    """What is overridden of one hook as one function. ``answers``: it gives what the last call gives."""
    if not calls:
        return nothing

    def hook(*args: Any) -> Any:
        answer = None
        outer, scope.hook = scope.hook, name
        for call in calls:
            answer = call(*args)
        scope.hook = outer
        return answer if answers else None

    return hook


def within(name: str, call: Callable[..., Any], scope: Scope) -> Callable[..., Any]:
    """A method of the module, so that ``log`` knows where it is called from."""

    def method(*args: Any, **kwargs: Any) -> Any:
        outer, scope.hook = scope.hook, name
        result = call(*args, **kwargs)
        scope.hook = outer
        return result

    return method


def takes_nothing(call: Callable[..., Any]) -> bool:
    """Whether it can be called without arguments: else it is a method of the program's own by the name of a hook."""
    try:
        inspect.signature(call).bind()
    except TypeError:
        return False
    return True


class HookTable:
    """All hooks of a run as attributes, for example ``table.on_train_batch_start(batch, batch_idx)``."""

    def __init__(self, trainer: Trainer, module: LightningModule):
        self._trainer = trainer
        self._module = module
        self.bind()

    def bind(self) -> None:
        """Look up again what is overridden: hooks may be added to instances, and callbacks to the Trainer."""
        callbacks, scope = self._trainer.callbacks, self._trainer.scope
        for callback in callbacks:
            callback._trainer = self._trainer
        for name in SHARED_HOOKS:
            answers = overrides(self._module, name)
            setattr(self, name, in_turn(name, self._calls(name, callbacks, with_module=True), scope, answers))
        for name in CALLBACK_HOOKS:
            setattr(self, name, in_turn(name, self._calls(name, callbacks, with_module=False), scope))
        for name in MODULE_HOOKS:  # which do something where nobody overrides them
            call = self._profiled("LightningModule", self._module, name, getattr(self._module, name))
            setattr(self, name, within(name, call, scope))
        # Callbacks that watch metrics come after the module, so that they see what it logs at the epoch's end.
        name = "on_train_epoch_end"
        watching = [callback for callback in callbacks if callback.watches_metrics]
        others = [callback for callback in callbacks if not callback.watches_metrics]
        self.on_train_epoch_end = in_turn(name, self._calls(name, others, with_module=True), scope)
        self.on_train_epoch_end_monitors = in_turn(name, self._calls(name, watching, with_module=False), scope)

    if TYPE_CHECKING:  # at run time it would make each look-up several times slower

        def __getattr__(self, name: str) -> Callable[..., Any]: ...

    def _calls(self, name: str, callbacks: Iterable[Callback], with_module: bool) -> list[Callable[..., Any]]:
        calls = [
            self._profiled("Callback", callback, name, partial(getattr(callback, name), self._trainer, self._module))
            for callback in callbacks
            if overrides(callback, name)
        ]
        if with_module and overrides(self._module, name):
            calls.append(self._profiled("LightningModule", self._module, name, getattr(self._module, name)))
        if name in EVERY_STAGE:
            older = [call for call in self._calls(EVERY_STAGE[name], callbacks, with_module) if takes_nothing(call)]
            calls = older + calls if name.endswith("_start") else calls + older
        return calls

    def _profiled(self, kind: str, owner: object, name: str, call: Callable[..., Any]) -> Callable[..., Any]:
        return self._trainer.profiler.profiled(f"[{kind}]{type(owner).__qualname__}.{name}", call)


def overrides(owner: object, name: str, base: type | None = None) -> bool:
    """Whether ``owner`` has a method of its own under ``name``, on its class or on the instance; ``None`` is none.

    ``base``: whose methods are not; by default ``Callback``, or ``LightningModule`` for all else.
    """
    if name in vars(owner):
        return vars(owner)[name] is not None
    if base is None:
        from leyden.callbacks.base import Callback
        from leyden.module import LightningModule

        base = Callback if isinstance(owner, Callback) else LightningModule
    found = getattr(type(owner), name, None)
    return found is not None and found is not getattr(base, name, None)


class DataHooks:
    """What :class:`LightningModule` and :class:`LightningDataModule` share: where data comes from and goes to."""

    prepare_data_per_node = True
    """Whether ``prepare_data`` runs on every node, or on the first alone."""

    def prepare_data(self) -> None:
        """Download or prepare on disk; runs in one process of each node, so keep no state here."""

    def setup(self, stage: str) -> None:
        """Runs in each process before ``fit``, ``validate``, ``test`` or ``predict``."""

    def teardown(self, stage: str) -> None:
        """Runs in each process after the stage."""

    def train_dataloader(self) -> Any:
        """One loader or any iterable of batches."""
        raise NotImplementedError

    def val_dataloader(self) -> Any:
        """A loader or a list of loaders."""
        raise NotImplementedError

    def test_dataloader(self) -> Any:
        """A loader or a list of loaders."""
        raise NotImplementedError

    def predict_dataloader(self) -> Any:
        """A loader or a list of loaders."""
        raise NotImplementedError

    def on_before_batch_transfer(self, batch: Any, dataloader_idx: int) -> Any:
        """Change the batch before it moves to the device."""
        return batch

    def transfer_batch_to_device(self, batch: Any, device: Any, dataloader_idx: int) -> Any:
        """Move the batch. Override it for types that Leyden does not know."""
        from leyden.nested import move

        return move(batch, device)

    def on_after_batch_transfer(self, batch: Any, dataloader_idx: int) -> Any:
        """Change the batch after it moved to the device."""
        return batch
