"""Sliding sync as rules: which rooms and which state a client wants, and what it has been told. Spec: MSC4186."""
