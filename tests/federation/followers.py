"""A client that follows its rooms by `/sync` alone, and remembers all that it was ever shown."""

from collections import Counter
from typing import Any

import attrs

from tests.api.server import Client

FILTER = {
    "presence": {"types": []},
    "account_data": {"types": []},
    "room": {
        "timeline": {"limit": 1000},
        "ephemeral": {"types": []},
        "account_data": {"types": []},
    },
}


@attrs.define
class Follower:
    """One client; it asks for the state after the timeline, which is the room's."""

    client: Client
    shown: dict[str, Counter[str]] = attrs.field(factory=dict)
    """By room, how often each event was in a timeline."""
    state: dict[str, dict[tuple[str, str], str]] = attrs.field(factory=dict)
    gaps: int = 0
    """Timelines that left something out."""
    _since: str | None = None

    async def sync(self) -> None:
        """Ask once, without waiting."""
        answer = await self.client.sync(self._since, filter=FILTER, use_state_after="true")
        self._since = answer["next_batch"]
        for room_id, part in answer.get("rooms", {}).get("join", {}).items():
            self._take(room_id, part)

    def _take(self, room_id: str, part: Any) -> None:
        shown = self.shown.setdefault(room_id, Counter())
        if part["timeline"].get("limited") and shown:
            self.gaps += 1
        shown.update(event["event_id"] for event in part["timeline"]["events"])
        state = self.state.setdefault(room_id, {})
        for event in part.get("state_after", {}).get("events", []):
            state[event["type"], event["state_key"]] = event["event_id"]
