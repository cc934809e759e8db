"""What SLURM's warning does, that a job's time is nearly up: save, have the job started again, and go on from there.

The files are Lightning's, ``hpc_ckpt_<number>.ckpt`` in the Trainer's ``default_root_dir``. A ``CheckpointDirectory``
has no need of them.
"""

from __future__ import annotations

import os
import re
import subprocess
from typing import TYPE_CHECKING

from leyden.checkpoint.places import Place

if TYPE_CHECKING:
    from leyden.trainer import Trainer

REQUEUE_SECONDS = 60.0


def newest(folder: Place) -> Place | None:
    """What the job's last start has left."""
    number = _last_number(folder)
    return folder / _name(number) if number else None


def requeue(trainer: Trainer) -> bool:
    """Save, and have SLURM start the job again. A collective call. Whether it will: where not, training goes on."""
    folder = trainer.settings.default_root_dir
    if trainer.checkpoint_directory is None:
        trainer.save_checkpoint(str(folder / _name(_last_number(folder) + 1)))
    problem = trainer.strategy.broadcast(_put_back() if trainer.is_global_zero else "")
    if problem:
        trainer.stop_signal.forget()
        trainer.warn(f"{problem}; the run is saved, and training goes on while it may")
    return not problem


def _put_back() -> str:
    """Why SLURM does not start the job again; empty where it does."""
    array, task = os.environ.get("SLURM_ARRAY_JOB_ID"), os.environ.get("SLURM_ARRAY_TASK_ID", "")
    command = ["scontrol", "requeue", f"{array}_{task}" if array else os.environ.get("SLURM_JOB_ID", "")]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=REQUEUE_SECONDS, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        return f"the job was not put into SLURM's queue again: {error}"
    said = (done.stderr or done.stdout).strip() or f"exit code {done.returncode}"
    return f"the job was not put into SLURM's queue again: {' '.join(command)}: {said}" if done.returncode else ""


def _name(number: int) -> str:
    return f"hpc_ckpt_{number}.ckpt"


def _last_number(folder: Place) -> int:
    names = [entry.name for entry in folder.iterdir()] if folder.is_dir() else []
    found = [re.fullmatch(r"hpc_ckpt_(\d+)\.ckpt", name) for name in names]
    return max((int(match[1]) for match in found if match), default=0)
