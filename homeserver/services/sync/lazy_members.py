"""Which members' state a device has been sent, so that lazy loading can leave out the redundant ones.

What was sent is remembered with the token of the response it was sent in: a client that repeats a request, because
the answer was lost, is answered as if nothing of that answer had been sent. All of it may be
forgotten at any time; then members are sent once more.
"""

from collections import OrderedDict
from collections.abc import Collection, Mapping
from typing import TypeAlias

from homeserver.core.identifiers import RoomID, UserID

Sent = Mapping[RoomID, frozenset[str]]
"""Users whose membership event a device has, by room."""

Token: TypeAlias = int | str
"""What a response was given under: its position, or all of its token."""

_Device = tuple[UserID, str]


class LazyMembers:
    """What the devices of this process's clients have been sent, for their last few tokens."""

    TOKENS = 3
    MOST_DEVICES = 5_000
    MOST_MEMBERS = 2_000
    """Per room and device: a device that has been sent more starts again with none."""

    def __init__(self) -> None:
        self._devices: OrderedDict[_Device, OrderedDict[Token, Sent]] = OrderedDict()

    def sent(self, user_id: UserID, device_id: str, since: Token | None) -> Sent:
        """What the device had when it got the token `since`."""
        tokens = self._devices.get((user_id, device_id))
        if tokens is None or since is None:
            return {}
        self._devices.move_to_end((user_id, device_id))
        return tokens.get(since, {})

    def remember(
        self,
        user_id: UserID,
        device_id: str,
        since: Token | None,
        upto: Token,
        new: Mapping[RoomID, frozenset[str]],
        *,
        anew: Collection[RoomID] = (),
    ) -> None:
        """The response with the token `upto`, given for `since`, brought these members as well.

        In the rooms `anew` the client has no others any more.
        """
        before = self.sent(user_id, device_id, since)
        if anew:
            before = {room: users for room, users in before.items() if room not in anew}
        merged: Sent = before
        if new:
            merged = {**before, **{room: self._union(before.get(room), users) for room, users in new.items()}}
        if not merged:
            return
        tokens = self._devices.setdefault((user_id, device_id), OrderedDict())
        tokens[upto] = merged
        tokens.move_to_end(upto)
        while len(tokens) > self.TOKENS:
            tokens.popitem(last=False)
        while len(self._devices) > self.MOST_DEVICES:
            self._devices.popitem(last=False)

    def _union(self, before: frozenset[str] | None, users: frozenset[str]) -> frozenset[str]:
        if before is None or len(before) > self.MOST_MEMBERS:
            return users
        return before | users
