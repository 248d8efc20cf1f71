"""Counting what is sent for Prometheus; imported only where a listener serves metrics."""

from prometheus_client import CollectorRegistry, Counter, Gauge

from homeserver.services.federation_outbox.outbox import Outbox


class PrometheusOutboxMetrics:
    """Counts transactions and what is in them; the lengths of the queues are looked up when they are asked for."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._registry = registry
        self._transactions = Counter(
            "homeserver_federation_transactions",
            "Transactions to other servers: sent, failed for now, or refused.",
            ("outcome",),
            registry=registry,
        )
        self._sent = self._transactions.labels("sent")
        self._failed = {
            True: self._transactions.labels("failed"),
            False: self._transactions.labels("refused"),
        }
        self._pdus = Counter(
            "homeserver_federation_sent_pdus", "Events sent, once for each destination.", registry=registry
        )
        self._edus = Counter(
            "homeserver_federation_sent_edus", "EDUs sent, once for each destination.", registry=registry
        )

    def follow(self, outbox: Outbox) -> None:
        """Tell also what waits in the outbox."""
        queues = outbox.queues
        for name, text, value in (
            ("running_transactions", "Transactions on their way.", lambda: outbox.transactions),
            ("waiting_destinations", "Destinations for which something waits.", lambda: len(queues)),
            ("waiting_pdus", "Events that wait, once for each destination.", lambda: queues.pdus),
            ("waiting_bytes", "The size of those.", lambda: queues.bytes),
            ("behind_destinations", "Destinations that fail or catch up.", lambda: len(queues.behind)),
            (
                "outbox_shards",
                "Shards of the outbox that this process holds.",
                lambda: len(outbox.shards.held),
            ),
        ):
            Gauge(f"homeserver_federation_{name}", text, registry=self._registry).set_function(value)

    def sent(self, pdus: int, edus: int) -> None:
        """As `OutboxMetrics.sent`."""
        self._sent.inc()
        self._pdus.inc(pdus)
        self._edus.inc(edus)

    def failed(self, *, transient: bool) -> None:
        """As `OutboxMetrics.failed`."""
        self._failed[transient].inc()
