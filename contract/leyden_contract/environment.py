"""Names of the environment variables by which the operator configures pods.

Each constant's value is the variable's name; the docstring says what it holds.
"""

TOKEN = "LEYDEN_TOKEN"
"""Bearer token between coordinator, agents and operator: the job's UID."""

RUN_ID = "LEYDEN_RUN_ID"
"""``<job uid>-<attempt>``: what a process must belong to before it may join."""

NODES_MIN = "LEYDEN_NODES_MIN"
"""Coordinator: fewest nodes that may train."""

NODES_MAX = "LEYDEN_NODES_MAX"
"""Coordinator: most nodes that may train."""

RESTART_BUDGET = "LEYDEN_RESTART_BUDGET"
"""Coordinator: failures of the user's code that this attempt may still survive."""

LEDGER = "LEYDEN_LEDGER"
"""Coordinator: path of the file that carries its state over a container restart."""

COORDINATOR = "LEYDEN_COORDINATOR"
"""Agent: base URL of the coordinator."""

POD_NAME = "LEYDEN_POD_NAME"
POD_UID = "LEYDEN_POD_UID"
POD_IP = "LEYDEN_POD_IP"
NODE_NAME = "LEYDEN_NODE_NAME"

NODE_INDEX = "LEYDEN_NODE_INDEX"
"""Agent: the worker's index in ``[0, nodes.max)``. Ranks are ordered by it."""

PROCESSES_PER_NODE = "LEYDEN_PROCESSES_PER_NODE"
"""Agent: ``auto`` (one per GPU, else 1) or a number."""

RUN = "LEYDEN_RUN"
"""Agent: JSON of the resource's ``spec.run``."""

CHECKPOINT = "LEYDEN_CHECKPOINT"
"""Agent and ranks: JSON of :class:`leyden_contract.launch.CheckpointPlan`."""

RANK_DIR = "LEYDEN_RANK_DIR"
"""Rank: directory shared with its agent, holding ``stop``, ``step`` and ``events.jsonl``."""

MODEL_DIRECTORY = "LEYDEN_MODEL_DIRECTORY"
"""Server: directory that holds the ``step-*`` checkpoint directories."""

MODEL_STEP = "LEYDEN_MODEL_STEP"
"""Server: step of the checkpoint to serve. Default: the newest complete one."""

MODEL_DIGEST = "LEYDEN_MODEL_DIGEST"
"""Server: digest that the checkpoint must have."""

MODEL_FORMAT = "LEYDEN_MODEL_FORMAT"
"""Server: what to load of the checkpoint, see :data:`leyden_contract.manifest.ModelFormat`. Default: ``auto``."""

SERVER = "LEYDEN_SERVER"
"""Server: JSON of the resource's ``spec.server``."""
