"""The verdict against an event."""


class NotAllowed(Exception):  # noqa: N818 - it is a verdict more than an error: for a PDU it is stored
    """The authorisation rules refuse an event; `rule` is the sentence of the rule that did."""

    def __init__(self, rule: str) -> None:
        super().__init__(rule)
        self.rule = rule
