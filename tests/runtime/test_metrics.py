"""Metrics."""

from prometheus_client import Counter

from homeserver.runtime import metrics


def test_a_registry_is_its_servers_own() -> None:
    one, other = metrics.new_registry(), metrics.new_registry()
    Counter("homeserver_things", "Things.", registry=one).inc(3)
    assert b"homeserver_things_total 3.0" in metrics.exposition(one)
    assert b"homeserver_things" not in metrics.exposition(other)


def test_the_process_is_measured() -> None:
    text = metrics.exposition(metrics.new_registry())
    assert b"process_resident_memory_bytes " in text
    assert b'homeserver_build_info{version="' in text
