"""Which requests have been answered last: the same again can only be answered differently if something has happened."""

from collections import OrderedDict

from homeserver.core.tokens import SlidingToken
from homeserver.services.sliding_sync.context import Asking


class Answered:
    """The requests that this process has answered last, by the tokens that it gave for them."""

    MOST = 20_000

    def __init__(self) -> None:
        self._answered: OrderedDict[SlidingToken, int] = OrderedDict()

    def note(self, asking: Asking, token: SlidingToken) -> None:
        """The request has been answered with the token."""
        self._answered[token] = hash((asking.user_id, asking.device_id, asking.conn_id, asking.request))
        if len(self._answered) > self.MOST:
            self._answered.popitem(last=False)

    def has(self, asking: Asking, token: SlidingToken) -> bool:
        """Whether the token was given for the very same request, so that only news can make a difference."""
        known = self._answered.get(token)
        return known == hash((asking.user_id, asking.device_id, asking.conn_id, asking.request))
