"""Metrics for Prometheus. A registry belongs to one server and is handed to whoever counts.

Names start with `homeserver_`; labels have few values (an operation, a status), never a user or a room.
"""

from prometheus_client import CollectorRegistry, GCCollector, Info, ProcessCollector, generate_latest

from homeserver import __version__


def new_registry() -> CollectorRegistry:
    """A registry that knows this process's memory, processor time, files and garbage collection."""
    registry = CollectorRegistry()
    ProcessCollector(registry=registry)
    GCCollector(registry=registry)
    Info("homeserver_build", "What is running.", registry=registry).info({"version": __version__})
    return registry


def exposition(registry: CollectorRegistry) -> bytes:
    """All metrics in Prometheus's text format."""
    return generate_latest(registry)
