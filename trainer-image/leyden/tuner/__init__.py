"""Finding a learning rate and a batch size by short runs: :class:`Tuner`."""

from leyden.tuner.lr_finder import LRFinder
from leyden.tuner.tuning import Tuner

__all__ = ["LRFinder", "Tuner"]
