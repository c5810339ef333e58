"""What /metrics tells in Prometheus' text format. Each application counts by itself.

measures.answered(scope, 200, 0.012)
measures.text()
"""

from collections.abc import Callable

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from starlette.types import Scope

SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)
NO_ROUTE = "none"


class Measures:
    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self._requests = Counter(
            "probe_requests", "Requests that were answered.", ["path", "status"], registry=self.registry
        )
        self._seconds = Histogram(
            "probe_request_seconds",
            "From a request's headers to the end of its answer.",
            ["path"],
            buckets=SECONDS,
            registry=self.registry,
        )

    def gauge(self, name: str, what: str, value: Callable[[], float]) -> None:
        """Something that is asked for when it is told."""
        Gauge(name, what, registry=self.registry).set_function(value)

    def answered(self, scope: Scope, status: int, seconds: float) -> None:
        path = getattr(scope.get("route"), "path", NO_ROUTE)  # never what was asked for, which is anybody's text
        self._requests.labels(path, str(status)).inc()
        self._seconds.labels(path).observe(seconds)

    def text(self) -> bytes:
        return generate_latest(self.registry)
