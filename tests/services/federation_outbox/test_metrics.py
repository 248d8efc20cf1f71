"""What is counted about sending."""

from prometheus_client import CollectorRegistry

from homeserver.core.identifiers import UserID
from homeserver.services.federation_outbox.prometheus_metrics import PrometheusOutboxMetrics
from tests.services.federation_outbox.scene import ALICE, OutboxScene
from tests.services.federation_outbox.test_edus import be
from tests.services.federation_outbox.test_failing import fail_twice

BOB, CAROL = UserID("@bob:b"), UserID("@carol:c")


async def test_what_is_sent_and_what_is_not(scene: OutboxScene) -> None:
    registry = CollectorRegistry()
    metrics = scene.metrics = PrometheusOutboxMetrics(registry)

    def value(name: str, **labels: str) -> float | None:
        return registry.get_sample_value(f"homeserver_federation_{name}", labels)

    await scene.outbox.stop()
    await scene.begin()
    metrics.follow(scene.outbox)
    room = await scene.room(BOB, CAROL)
    transactions, pdus = value("transactions_total", outcome="sent"), value("sent_pdus_total")
    assert transactions is not None
    assert pdus is not None
    assert value("outbox_shards") == 8
    await room.say("to both")
    await scene.settle()
    assert value("transactions_total", outcome="sent") == transactions + 2
    assert value("sent_pdus_total") == pdus + 2
    await be(scene, ALICE, "online")
    await scene.tick()
    assert value("sent_edus_total") == 2
    scene.network.held["c"] = []
    await room.say("held")
    await scene.settle()
    assert value("running_transactions") == 1
    await room.say("waiting")
    await scene.settle()
    assert value("waiting_destinations") == 1
    assert value("waiting_pdus") == 1
    assert (value("waiting_bytes") or 0) > 100
    scene.network.let_go("c")
    await scene.settle()
    assert value("waiting_pdus") == value("waiting_bytes") == value("running_transactions") == 0
    assert value("transactions_total", outcome="failed") == value("behind_destinations") == 0
    scene.network.down.add("b")
    await room.say("in vain")
    await fail_twice(scene)
    assert (value("transactions_total", outcome="failed") or 0) >= 1
    assert value("behind_destinations") == 1
