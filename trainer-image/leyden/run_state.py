"""Where a training run stands: all the counters that a checkpoint must carry."""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields
from typing import Any, Literal

Rest = Literal["", "all", "but_validation"]


@dataclass
class RunState:
    """Counters of one ``fit``. This is what resumes; nothing is inferred from anything else."""

    epoch: int = 0
    """The epoch that runs, from 0."""

    batch_idx: int = 0
    """Batches of this epoch that are done."""

    global_step: int = 0
    """Optimizer steps, over all optimizers."""

    batches_stepped: int = 0
    """Batches after which an optimizer stepped: the axis of logged metrics."""

    batches: int = 0
    """Batches of all epochs that are done."""

    rest: Rest = ""
    """What is still due after the batch that ran last: hooks of its end may save when it is not over yet."""

    epoch_done: bool = False
    """Whether the epoch's own end is done too, so that a resumed run begins with the next."""

    def state_dict(self) -> dict[str, Any]:
        return asdict(self)

    def load_state_dict(self, state: dict[str, Any]) -> None:
        for field in fields(self):
            setattr(self, field.name, state.get(field.name, field.default))

    def next_epoch(self) -> None:
        """Go on to the next epoch."""
        self.epoch += 1
        self.batch_idx = 0
        self.epoch_done = False
