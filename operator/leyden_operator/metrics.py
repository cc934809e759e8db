"""The operator's metrics: names and help texts are here alone."""

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

REGISTRY = CollectorRegistry()

reconciliations = Counter(
    "leyden_reconciliations",
    "Reconciliations by kind and outcome (done, failed)",
    ["kind", "outcome"],
    registry=REGISTRY,
)
reconcile_seconds = Histogram("leyden_reconcile_seconds", "Time of one reconciliation", ["kind"], registry=REGISTRY)
queue_depth = Gauge("leyden_queue_depth", "Resources that are due and wait", registry=REGISTRY)
queue_wait_seconds = Gauge(
    "leyden_queue_longest_wait_seconds", "Longest time that a due resource has waited", registry=REGISTRY
)
loop_lag_seconds = Gauge("leyden_event_loop_lag_seconds", "How late the event loop last was", registry=REGISTRY)
api_requests = Counter(
    "leyden_api_requests", "Requests to the API server", ["verb", "group", "resource"], registry=REGISTRY
)
watch_events = Counter("leyden_watch_events", "Events that watches delivered", ["kind"], registry=REGISTRY)
