"""The parts of `scripts/bench`, which compares this server with Synapse."""
