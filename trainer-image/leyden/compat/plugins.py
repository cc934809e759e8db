"""``lightning.pytorch.plugins``, as far as there are any."""

from leyden.precision import Precision

__all__ = ["Precision"]
