"""What can be added to a run: ``Trainer(callbacks=[...])``."""

from leyden.callbacks.base import Callback
from leyden.callbacks.checkpoint_directory import CheckpointDirectory
from leyden.callbacks.early_stopping import EarlyStopping
from leyden.callbacks.model_checkpoint import ModelCheckpoint
from leyden.callbacks.progress import ProgressBar

__all__ = ["Callback", "CheckpointDirectory", "EarlyStopping", "ModelCheckpoint", "ProgressBar"]
