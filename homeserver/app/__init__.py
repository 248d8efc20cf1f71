"""Puts the server together, and runs it."""

# First of all, see there.
import homeserver.runtime.reactor  # noqa: F401 - installs the reactor
