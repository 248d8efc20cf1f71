"""A client that follows its rooms by `/sync` alone, and remembers all that it was ever shown."""

from collections import Counter
from typing import Any

import attrs

from tests.api.server import Client, room_path

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
    gaps: list[tuple[str, str]] = attrs.field(factory=list)
    """Rooms and tokens of timelines that left something out: history that the server may have yet to ask others for."""
    _since: str | None = None

    async def fill_gaps(self) -> None:
        """Read what timelines have left out, as clients do when somebody scrolls there."""
        for room_id, token in self.gaps:
            shown = self.shown[room_id]
            start: str | None = token
            while start:
                query = {"dir": "b", "from": start, "limit": "100"}
                page = (await self.client.get(room_path(room_id, "messages"), **query)).ok()
                unseen = [event["event_id"] for event in page["chunk"] if event["event_id"] not in shown]
                shown.update(unseen)
                start = page.get("end") if unseen or not page["chunk"] else None
        self.gaps.clear()

    async def sync(self) -> None:
        """Ask once, without waiting."""
        answer = await self.client.sync(self._since, filter=FILTER, use_state_after="true")
        self._since = answer["next_batch"]
        for room_id, part in answer.get("rooms", {}).get("join", {}).items():
            self._take(room_id, part)

    def _take(self, room_id: str, part: Any) -> None:
        shown = self.shown.setdefault(room_id, Counter())
        if part["timeline"].get("limited"):
            self.gaps.append((room_id, part["timeline"]["prev_batch"]))
        shown.update(event["event_id"] for event in part["timeline"]["events"])
        state = self.state.setdefault(room_id, {})
        for event in part.get("state_after", {}).get("events", []):
            state[event["type"], event["state_key"]] = event["event_id"]
