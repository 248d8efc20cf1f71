"""Sending to other servers. `outbox.Outbox` is the way in."""
