"""Launchers as objects for ``Trainer(plugins=...)``: to insist on one, or to say what SLURM's warning does.

Without them the Trainer goes by the variables that it finds; see :mod:`leyden.environments`.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Mapping

from leyden import environments
from leyden.environments import World
from leyden.errors import MisconfigurationError


class LauncherEnvironment:
    """This process's place as a launcher's variables give it, by the names of Lightning's ``ClusterEnvironment``.

    Every method raises ``MisconfigurationError`` where the variables are not there, or hold no number.
    """

    creates_processes_externally = True
    """Whether somebody else starts the other processes."""

    def _variables(self) -> Mapping[str, str]:
        raise NotImplementedError

    @property
    def main_address(self) -> str:
        return self._variables()["MASTER_ADDR"]

    @property
    def main_port(self) -> int:
        return int(self._variables()["MASTER_PORT"])

    def global_rank(self) -> int:
        return World.of(self._variables()).global_rank

    def local_rank(self) -> int:
        return World.of(self._variables()).local_rank

    def world_size(self) -> int:
        return World.of(self._variables()).world_size

    def local_world_size(self) -> int:
        return World.of(self._variables()).local_world_size


class TorchElasticEnvironment(LauncherEnvironment):
    """``torchrun`` started this process."""

    @staticmethod
    def detect() -> bool:
        return environments.of_torchrun(os.environ) is not None

    def _variables(self) -> Mapping[str, str]:
        found = environments.of_torchrun(os.environ)
        if found is None:
            missing = [name for name in environments.LAUNCHER_VARIABLES if name not in os.environ]
            raise MisconfigurationError(f"torchrun did not start this process: {', '.join(missing)} not set")
        return found


class SLURMEnvironment(LauncherEnvironment):
    """``srun`` started this process.

    ``auto_requeue``: at ``requeue_signal`` (default SIGUSR1, as in ``#SBATCH --signal=SIGUSR1@90``) a ``fit`` is saved,
    and SLURM puts the job into its queue again, where it goes on from there; see :mod:`leyden.requeue`.
    """

    def __init__(self, auto_requeue: bool = True, requeue_signal: signal.Signals | None = None) -> None:
        self.auto_requeue = auto_requeue
        self.requeue_signal = requeue_signal if requeue_signal is not None else signal.SIGUSR1

    @staticmethod
    def detect() -> bool:
        return environments.started_by_srun(os.environ)

    def _variables(self) -> Mapping[str, str]:
        if "SLURM_PROCID" not in os.environ:
            raise MisconfigurationError("srun did not start this process: SLURM_PROCID is not set")
        return environments.of_slurm(os.environ)


class LightningEnvironment(LauncherEnvironment):
    """The Trainer starts the other processes by itself, whatever SLURM's variables say."""

    @property
    def creates_processes_externally(self) -> bool:  # type: ignore[override]  # here it depends
        return TorchElasticEnvironment.detect()

    def _variables(self) -> Mapping[str, str]:
        alone = {"RANK": "0", "LOCAL_RANK": "0", "WORLD_SIZE": "1", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "0"}
        return environments.of_torchrun(os.environ) or alone


def slurm_of(given: object) -> SLURMEnvironment | None:
    """The SLURM job that this process belongs to, by the plugin or by its variables."""
    # Within a job, torchrun is what the signal reaches, and what it ends. RANK would not tell: we set it too.
    if given is None and SLURMEnvironment.detect() and "TORCHELASTIC_RUN_ID" not in os.environ:
        return SLURMEnvironment()
    return given if isinstance(given, SLURMEnvironment) else None
