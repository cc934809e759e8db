"""Pure decisions: what was observed goes in, a :class:`Plan` comes out. No client, no clock, no randomness."""

from leyden_operator.decide.inference import decide_inference
from leyden_operator.decide.invalid import invalid_status, sentence
from leyden_operator.decide.plan import Deletion, Event, Observed, Plan, Reference, Refusal
from leyden_operator.decide.references import references
from leyden_operator.decide.training import decide_training

__all__ = [
    "Deletion",
    "Event",
    "Observed",
    "Plan",
    "Reference",
    "Refusal",
    "decide_inference",
    "decide_training",
    "invalid_status",
    "references",
    "sentence",
]
