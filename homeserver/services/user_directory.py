"""Finding users by their names. Spec: client-server API, "User Directory"."""

from collections.abc import Collection, Mapping
from typing import Final

import msgspec

from homeserver.core.identifiers import UserID
from homeserver.core.person_names import Closeness, NameQuery, parse_name_query
from homeserver.core.profiles import NameAndAvatar
from homeserver.core.requester import Requester
from homeserver.database.database import Database
from homeserver.database.transactions import ReadTransaction
from homeserver.services.user_directory_index import profile_in
from homeserver.storage import profiles, user_directory
from homeserver.storage.user_directory import Found

MOST_RESULTS: Final = 50
MOST_CANDIDATES: Final = 200
"""Who are ranked, of each kind: those with that very name, those sharing a room, and others."""


class Person(msgspec.Struct, frozen=True):
    """A user as the directory shows him."""

    user_id: UserID
    profile: NameAndAvatar


class People(msgspec.Struct, frozen=True):
    """The nearest users; `is_limited` if there are more."""

    found: list[Person]
    is_limited: bool


class UserDirectory(msgspec.Struct, frozen=True):
    """Finds users; with `everybody` all those of this server, whatever rooms they are in."""

    database: Database
    everybody: bool

    async def search(self, requester: Requester, term: str, *, limit: int) -> People:
        """Users of rooms that the requester is in, or that are open to all; the nearest first, up to 50."""
        return await self.database.read(
            search,
            requester.user_id,
            parse_name_query(term),
            everybody=self.everybody,
            limit=min(limit, MOST_RESULTS),
        )


def search(tx: ReadTransaction, me: UserID, query: NameQuery, *, everybody: bool, limit: int) -> People:
    """The users whom `me` may find, as they are shown to `me`."""
    found = user_directory.find(tx, me, query, everybody=everybody, most=MOST_CANDIDATES)
    shown = _shown_names(tx, me, query, found)
    ranked = sorted(shown, key=lambda user_id: _rank(user_id, found[user_id], *shown[user_id]))
    people = [Person(user_id, shown[user_id][1]) for user_id in ranked[:limit]]
    return People(people, len(ranked) > limit)


def _shown_names(
    tx: ReadTransaction, me: UserID, query: NameQuery, found: Mapping[UserID, Found]
) -> dict[UserID, tuple[Closeness, NameAndAvatar]]:
    """The names that `me` may see, of those who answer the query by them."""
    local = [user_id for user_id, each in found.items() if each.is_local]
    names = profiles.names_of(tx, local)
    candidates = {user_id: [names.get(user_id, NameAndAvatar())] for user_id in local}
    remote = found.keys() - candidates.keys()
    for user_id, pdus in user_directory.member_events_seen(tx, me, remote).items():
        candidates[user_id] = [profile_in(pdu) for pdu in pdus]
    shown: dict[UserID, tuple[Closeness, NameAndAvatar]] = {}
    for user_id, profiles_of_user in candidates.items():
        best = _nearest(query, user_id, profiles_of_user)
        if best is not None:
            shown[user_id] = best
    return shown


def _nearest(
    query: NameQuery, user_id: UserID, seen: Collection[NameAndAvatar]
) -> tuple[Closeness, NameAndAvatar] | None:
    """The profile that answers the query best, the first of several."""
    answers = ((query.closeness(user_id, profile.display_name), profile) for profile in seen)
    fitting = [(closeness, profile) for closeness, profile in answers if closeness is not None]
    return min(fitting, key=lambda each: each[0], default=None)


def _rank(
    user_id: UserID, found: Found, closeness: Closeness, profile: NameAndAvatar
) -> tuple[Closeness, bool, bool, int, str]:
    """Small for who is to come first. "Ordered by rank and then whether or not profile info is available"."""
    name = profile.display_name or ""
    has_profile = bool(name or profile.avatar_url)
    return closeness, not found.shares_room, not has_profile, len(name), user_id
