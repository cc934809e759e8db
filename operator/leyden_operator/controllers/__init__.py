"""Wiring: watches fill a queue, the queue reconciles, a reconciliation observes, decides and acts."""
