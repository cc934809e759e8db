"""Pure decisions: what was observed goes in, a :class:`Plan` comes out. No client, no clock, no randomness.

The controllers call, for a TrainingJob::

    plan = decide_training(job, observed, report, settings, now)   # report: the coordinator's, or None

and for an InferenceService ``decide_inference(service, observed, settings, now)``. What to look up beforehand is said
by :func:`references`; where the coordinator listens by :func:`leyden_operator.desired.names.coordinator_url`.
"""
