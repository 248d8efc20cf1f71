"""Which requests have been answered last: the same again can only be answered differently if something has happened."""

from collections import OrderedDict
from collections.abc import Mapping

import msgspec

from homeserver.core.tokens import SlidingToken
from homeserver.services.sliding_sync.context import Asking


class Answered(msgspec.Struct, frozen=True):
    """A request, by its hash, and what the lists were that it was answered with."""

    request: int
    lists: Mapping[str, bytes]


class LastAnswers:
    """The requests that this process has answered last, by the tokens that it gave for them."""

    MOST = 20_000

    def __init__(self) -> None:
        self._answered: OrderedDict[SlidingToken, Answered] = OrderedDict()

    def note(self, asking: Asking, token: SlidingToken, lists: Mapping[str, bytes]) -> None:
        """The request has been answered with the token."""
        self._answered[token] = Answered(_hash_of(asking), lists)
        if len(self._answered) > self.MOST:
            self._answered.popitem(last=False)

    def of(self, asking: Asking) -> Answered | None:
        """What the very same request was answered with the token that is sent now, so that only news can matter."""
        known = None if asking.token is None else self._answered.get(asking.token)
        return known if known is not None and known.request == _hash_of(asking) else None


def _hash_of(asking: Asking) -> int:
    return hash((asking.user_id, asking.device_id, asking.conn_id, asking.request))
