"""Where a run computes, and how its processes work together: one device, DDP or FSDP."""

from leyden.strategies.base import SingleDeviceStrategy, Strategy
from leyden.strategies.choice import choose_strategy
from leyden.strategies.ddp import DDPStrategy
from leyden.strategies.distributed import DistributedStrategy
from leyden.strategies.fsdp import FSDPStrategy
from leyden.strategies.xla import SingleDeviceXLAStrategy

__all__ = [
    "DDPStrategy",
    "DistributedStrategy",
    "FSDPStrategy",
    "SingleDeviceStrategy",
    "SingleDeviceXLAStrategy",
    "Strategy",
    "choose_strategy",
]
