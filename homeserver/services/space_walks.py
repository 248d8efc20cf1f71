"""Walking the tree of rooms under a space, for one user. Transaction functions.

Spec: client-server API, "Discovering rooms within spaces".
"""

import itertools
from collections.abc import Iterator, Mapping, Sequence
from typing import Final

import attrs
import msgspec

from homeserver.core.identifiers import RoomID, ServerName, UserID, server_of
from homeserver.core.json import JsonObject
from homeserver.core.space_children import SPACE, SortKey, SpaceChild
from homeserver.database.transactions import ReadTransaction
from homeserver.services.remote_spaces import Question, RemoteRoom, RemoteSpace
from homeserver.services.room_summaries import SummarisedRoom, children_of, summarise_all
from homeserver.services.state_facts import facts_of
from homeserver.services.summary_access import Terms, membership_in
from homeserver.storage import memberships, room_servers, rooms

AT_ONCE: Final = 50
"""Children of a space that are looked at together."""

MOST_ROOMS: Final = 5_000
"""Rooms that a walk meets at most; there are no pages behind those."""

Path = tuple[SortKey, ...]
"""The way from the root to a room: what each of its ancestors but the root, and the room itself, is ordered by.

Paths compare as the rooms follow each other: a space before what is in it, and that before its next sibling.
"""


class Asked(msgspec.Struct, frozen=True, kw_only=True):
    """What a user wants to see: up to `limit` rooms behind the one at the path `after`, None for the beginning."""

    user_id: UserID
    room_id: RoomID
    suggested_only: bool
    max_depth: int
    limit: int
    after: Path | None


class Visited(msgspec.Struct, frozen=True):
    """A room of the tree, as a client gets it."""

    path: Path
    entry: JsonObject


class _Node(msgspec.Struct, frozen=True):
    """A room that the user may see; `local` or `remote`, whoever knows it, or else `room` is all there is to it."""

    summary: JsonObject
    is_space: bool
    local: SummarisedRoom | None = None
    remote: RemoteSpace | None = None


@attrs.define
class SpaceWalk:
    """One walk, as far as this server knows the rooms, or has been told of them.

    `known` is what other servers have answered, None if they have not told; `wanted` is what they are still to be
    asked, for without it the walk is not right. `is_admitted`: whether the user may see the root. With more than
    `limit` rooms `found` there are further ones.
    """

    tx: ReadTransaction
    server_name: ServerName
    asked: Asked
    known: Mapping[Question, RemoteSpace | None]
    found: list[Visited] = attrs.field(factory=list, init=False)
    wanted: list[Question] = attrs.field(factory=list, init=False)
    is_admitted: bool = attrs.field(default=False, init=False)
    _seen: set[RoomID] = attrs.field(factory=set, init=False)

    def run(self) -> None:
        """Walk. A room that the user may not see is passed by, with what is under it."""
        room_id = self.asked.room_id
        self._seen.add(room_id)
        nodes = self._local([room_id])
        root = nodes[room_id] if room_id in nodes else self._remote_root(room_id)
        if root is not None:
            self.is_admitted = True
            self._visit(root, ())

    @property
    def _is_full(self) -> bool:
        return len(self.found) + len(self.wanted) > self.asked.limit or len(self._seen) > MOST_ROOMS

    def _visit(self, node: _Node, path: Path) -> None:
        children = self._children(node)
        if self.asked.after is None or path > self.asked.after:
            self.found.append(
                Visited(path, node.summary | {"children_state": [child.stripped for child in children]})
            )
        if len(path) < self.asked.max_depth:
            self._descend(node, children, path)

    def _children(self, node: _Node) -> list[SpaceChild]:
        children: Sequence[SpaceChild] = ()
        if node.local is not None:
            children = children_of(self.tx, node.local)
        elif node.remote is not None:
            children = node.remote.children
        return [child for child in children if child.is_suggested or not self.asked.suggested_only]

    def _descend(self, node: _Node, children: Sequence[SpaceChild], path: Path) -> None:
        for some in _parts(children):
            new = [child for child in some if child.room_id not in self._seen]
            passed = self._without_more(
                [child.room_id for child in new if self._is_passed((*path, child.sort_key))]
            )
            nodes = self._local([child.room_id for child in new if child.room_id not in passed])
            for child in new:
                if self._is_full:
                    return
                if child.room_id in self._seen:
                    continue  # It was met under one of its elder siblings.
                self._seen.add(child.room_id)
                if child.room_id in passed:
                    continue
                is_local = child.room_id in nodes
                found = nodes[child.room_id] if is_local else self._remote_child(child, node)
                if found is not None:
                    self._visit(found, (*path, child.sort_key))

    def _is_passed(self, path: Path) -> bool:
        """Whether a room there, with all that is under it, stands on a page before."""
        after = self.asked.after
        return after is not None and path < after[: len(path)]

    def _without_more(self, room_ids: Sequence[RoomID]) -> set[RoomID]:
        """Those of the rooms that are no spaces, so that nothing is found under them. Costs little."""
        here = self._here(room_ids)
        facts = facts_of(self.tx, here)
        return {room.room_id for room in here if facts[room.room_nid].room_type != SPACE}

    def _here(self, room_ids: Sequence[RoomID]) -> list[rooms.Room]:
        """Those of the rooms that this server is in."""
        if not room_ids:
            return []
        held = [room for room in rooms.of_ids(self.tx, room_ids).values() if room.is_held]
        joined = room_servers.among(self.tx, [room.room_nid for room in held], self.server_name)
        return [room for room in held if room.room_nid in joined]

    def _local(self, room_ids: Sequence[RoomID]) -> dict[RoomID, _Node | None]:
        """Those of the rooms that this server is in; None for what the user may not see."""
        tx, user_id = self.tx, self.asked.user_id
        here = self._here(room_ids)
        mine = memberships.of_user_in(tx, user_id, [room.room_id for room in here])
        return {
            each.room.room_id: _Node(each.to_json(), each.is_space, local=each)
            if Terms.of(each).admit(tx, user_id, mine.get(each.room.room_id))
            else None
            for each in summarise_all(tx, here)
        }

    def _remote_root(self, room_id: RoomID) -> _Node | None:
        """A room of which the user knows by its ID, or by an invitation."""
        mine = memberships.room_of(self.tx, self.asked.user_id, room_id)
        named = (None if mine is None else server_of(mine.sender), server_of(room_id))
        return self._remote(room_id, tuple(server for server in named if server is not None))

    def _remote_child(self, child: SpaceChild, parent: _Node) -> _Node | None:
        if parent.remote is not None:
            told = parent.remote.told.get(child.room_id)
            if told is not None and not told.is_space:
                return self._shown(told, None, membership_in(self.tx, self.asked.user_id, child.room_id))
            if child.room_id in parent.remote.inaccessible:
                return None
        return self._remote(child.room_id, child.via)

    def _remote(self, room_id: RoomID, servers: tuple[ServerName, ...]) -> _Node | None:
        membership = membership_in(self.tx, self.asked.user_id, room_id)
        question = Question.of(room_id, servers, self.server_name, membership)
        if not question.servers:
            return None
        if question not in self.known:
            self.wanted.append(question)
            return None
        answer = self.known[question]
        return None if answer is None else self._shown(answer.room, answer, membership)

    def _shown(self, room: RemoteRoom, space: RemoteSpace | None, membership: str | None) -> _Node | None:
        if not room.terms.admit(self.tx, self.asked.user_id, membership):
            return None
        return _Node(room.summary, room.is_space, remote=space)


def walk(
    tx: ReadTransaction, server_name: ServerName, asked: Asked, known: Mapping[Question, RemoteSpace | None]
) -> SpaceWalk:
    """Walk once; the result is to be looked at, not to be used further."""
    made = SpaceWalk(tx, server_name, asked, known)
    made.run()
    return made


def _parts(children: Sequence[SpaceChild]) -> Iterator[Sequence[SpaceChild]]:
    left = iter(children)
    while some := list(itertools.islice(left, AT_ONCE)):
        yield some
