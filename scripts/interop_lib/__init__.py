"""Conversations between this server and Synapse, step by step, in both directions."""
