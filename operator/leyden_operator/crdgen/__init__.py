"""Generates ``crds/`` and ``docs/reference/`` from the models of :mod:`leyden_operator.api`."""
