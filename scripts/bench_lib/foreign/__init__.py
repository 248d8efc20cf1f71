"""Servers that are neither ours nor Synapse: a process of its own, which plays many at once.

It signs events with this repository's core, so it runs on the Python that our server runs on.
"""
