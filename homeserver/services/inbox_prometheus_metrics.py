"""Counting what is received for Prometheus; imported only where a listener serves metrics."""

from prometheus_client import CollectorRegistry, Counter, Gauge


class PrometheusInboxMetrics:
    """Counts events by what became of them when they came."""

    def __init__(self, registry: CollectorRegistry) -> None:
        received = Counter(
            "homeserver_federation_received_pdus",
            "Events received: stored at once, staged, or refused.",
            ("outcome",),
            registry=registry,
        )
        self._stored = received.labels("stored")
        self._staged = received.labels("staged")
        self._refused = received.labels("refused")
        self._waiting = Gauge(
            "homeserver_federation_staged_pdus",
            "Events that are staged, in the whole database; looked up every half minute.",
            registry=registry,
        )

    def received(self, *, stored: int, staged: int, refused: int) -> None:
        """As `InboxMetrics.received`."""
        self._stored.inc(stored)
        self._staged.inc(staged)
        self._refused.inc(refused)

    def waiting(self, pdus: int) -> None:
        """As `InboxMetrics.waiting`."""
        self._waiting.set(pdus)
