"""Application services: which names are theirs. Spec: application service API, "Registration"."""

import re
from collections.abc import Iterable

import msgspec

from homeserver.core.errors import Exclusive
from homeserver.core.identifiers import RoomAlias, UserID


class Namespace(msgspec.Struct, frozen=True, eq=False):
    """Names that a pattern matches from their beginning; if it `is_exclusive`, nobody else may take them."""

    pattern: re.Pattern[str]
    is_exclusive: bool


class Appservice(msgspec.Struct, frozen=True, eq=False, kw_only=True):
    """An application service of this server.

    `sender` is whom it acts as unless it says otherwise. `token_hash` is of its `as_token`. `is_rate_limited`: rate
    limits hold for the users that it acts as; for `sender` they never do.
    """

    id: str
    sender: UserID
    token_hash: bytes
    users: tuple[Namespace, ...] = ()
    aliases: tuple[Namespace, ...] = ()
    is_rate_limited: bool = True

    def may_act_as(self, user_id: UserID) -> bool:
        """Whether the user, of this server, is in its namespaces, or is its sender."""
        return user_id == self.sender or _matches(self.users, user_id)

    def may_keep(self, alias: RoomAlias) -> bool:
        """Whether the alias, of this server, is in its namespaces."""
        return _matches(self.aliases, alias)

    def reserves_user(self, user_id: UserID) -> bool:
        """Whether nobody else may take the user ID."""
        return user_id == self.sender or _matches(_exclusive(self.users), user_id)

    def reserves_alias(self, alias: RoomAlias) -> bool:
        """Whether nobody else may make or delete the alias."""
        return _matches(_exclusive(self.aliases), alias)


class Appservices(msgspec.Struct, frozen=True, eq=False):
    """All application services of this server; no two share an ID, a sender or a token."""

    all: tuple[Appservice, ...] = ()

    def of_token(self, token_hash: bytes) -> Appservice | None:
        """The one whose `as_token` has that hash."""
        return next((each for each in self.all if each.token_hash == token_hash), None)

    def of_id(self, appservice_id: str) -> Appservice | None:
        """The one of that ID."""
        return next((each for each in self.all if each.id == appservice_id), None)

    def check_user(self, user_id: UserID, taker: Appservice | None) -> None:
        """Whether `taker`, or somebody who is no application service, may take the user ID.

        Errors: Exclusive. Spec: "Server admin style permissions".
        """
        if taker is not None and not taker.may_act_as(user_id):
            raise Exclusive("The user ID is in none of the application service's namespaces")
        if any(each.reserves_user(user_id) for each in self._others(taker)):
            raise Exclusive("The user ID is reserved by an application service")

    def check_alias(self, alias: RoomAlias, taker_id: str | None) -> None:
        """Whether the application service of that ID, or somebody who is none, may make or delete the alias.

        Errors: Exclusive. Spec: "Server admin style permissions".
        """
        taker = None if taker_id is None else self.of_id(taker_id)
        if taker is not None and not taker.may_keep(alias):
            raise Exclusive("The alias is in none of the application service's namespaces")
        if any(each.reserves_alias(alias) for each in self._others(taker)):
            raise Exclusive("The alias is reserved by an application service")

    def _others(self, one: Appservice | None) -> Iterable[Appservice]:
        return (each for each in self.all if each is not one)


def _exclusive(namespaces: Iterable[Namespace]) -> Iterable[Namespace]:
    return (each for each in namespaces if each.is_exclusive)


def _matches(namespaces: Iterable[Namespace], name: str) -> bool:
    # From the beginning, and not necessarily to the end: registrations rely on that everywhere.
    return any(each.pattern.match(name) for each in namespaces)
