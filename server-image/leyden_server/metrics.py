"""The server's metrics. Names and help texts are here alone. Right across workers by prometheus' files."""

import os
import tempfile

from fastapi import Response

DIRECTORY = "PROMETHEUS_MULTIPROC_DIR"


def share_between_workers() -> None:
    """Must be called before anything imports prometheus_client: it looks at the variable only then."""
    os.environ.setdefault(DIRECTORY, tempfile.mkdtemp(prefix="leyden-metrics-"))


class Metrics:
    """Counters of this process, and the sum over all."""

    def __init__(self) -> None:
        import prometheus_client as prometheus

        self._prometheus = prometheus
        self.registry = prometheus.CollectorRegistry()
        self.requests = prometheus.Counter(
            "leyden_server_requests", "Answers to POST /predict by status code", ["code"], registry=self.registry
        )
        self.seconds = prometheus.Histogram(
            "leyden_server_request_seconds",
            "Time from a request's first byte to its answer",
            buckets=(0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10),
            registry=self.registry,
        )
        self.in_flight = prometheus.Gauge(
            "leyden_server_requests_in_flight",
            "Requests to POST /predict being answered",
            registry=self.registry,
            multiprocess_mode="livesum",
        )
        self.step = prometheus.Gauge(
            "leyden_server_model_step",
            "Step of the checkpoint that is served",
            registry=self.registry,
            multiprocess_mode="max",
        )

    def exposition(self) -> Response:
        """The text that Prometheus scrapes."""
        from prometheus_client import multiprocess

        registry = self.registry
        if DIRECTORY in os.environ:
            registry = self._prometheus.CollectorRegistry()
            multiprocess.MultiProcessCollector(registry)  # type: ignore[no-untyped-call]  # the library has no types here
        return Response(self._prometheus.generate_latest(registry), media_type=self._prometheus.CONTENT_TYPE_LATEST)
