"""Which names are an application service's. Spec: application service API, "Registration"."""

import re

import pytest

from homeserver.core.appservices import Appservice, Appservices, Namespace
from homeserver.core.errors import Exclusive
from homeserver.core.identifiers import RoomAlias, UserID


def names(pattern: str, *, is_exclusive: bool) -> Namespace:
    return Namespace(re.compile(pattern), is_exclusive)


IRC = Appservice(
    id="irc",
    sender=UserID("@ircbot:a"),
    token_hash=b"irc",
    users=(names("@irc_.*:a", is_exclusive=True), names("@.*", is_exclusive=False)),
    aliases=(names("#irc_", is_exclusive=True),),
)
XMPP = Appservice(
    id="xmpp",
    sender=UserID("@xmpp:a"),
    token_hash=b"xmpp",
    users=(names("@xmpp_[a-z]+$", is_exclusive=True), names("@irc_x", is_exclusive=False)),
    aliases=(names("#", is_exclusive=False),),
)
BOTH = Appservices((IRC, XMPP))


def may_take(name: str, taker: Appservice | None) -> bool:
    try:
        if name[0] == "@":
            BOTH.check_user(UserID(name), taker)
        else:
            BOTH.check_alias(RoomAlias(name), None if taker is None else taker.id)
    except Exclusive:
        return False
    return True


@pytest.mark.parametrize(
    ("name", "takers"),
    [
        ("@irc_bob:a", [IRC]),
        ("@irc_:a", [IRC]),
        ("@ircbot:a", [IRC]),
        ("@alice:a", [None, IRC]),
        # The pattern counts from the beginning of the name.
        ("@my@irc_bob:a", [None, IRC]),
        ("@xmpp:a", [XMPP]),
        # `$`: the pattern does not stop in the middle.
        ("@xmpp_bob:a", [None, IRC]),
        # Of two application services, the one that has it exclusively.
        ("@irc_x:a", [IRC]),
        ("#irc_room:a", [IRC]),
        ("#a_room:a", [None, XMPP]),
    ],
)
def test_who_may_take_a_name(name: str, takers: list[Appservice | None]) -> None:
    assert [taker for taker in (None, IRC, XMPP) if may_take(name, taker)] == takers


def test_an_application_service_acts_as_who_is_in_its_namespaces() -> None:
    users = [UserID(f"@{name}:a") for name in ("irc_bob", "irc_x", "alice", "xmpp", "ircbot")]
    assert [user for user in users if IRC.may_act_as(user)] == users
    assert [user for user in users if XMPP.may_act_as(user)] == ["@irc_x:a", "@xmpp:a"]


def test_they_are_told_apart_by_their_tokens() -> None:
    assert BOTH.of_token(b"xmpp") is XMPP
    assert BOTH.of_token(b"") is None
    assert BOTH.of_id("irc") is IRC
    assert BOTH.of_id("") is None
    assert Appservices().of_token(b"xmpp") is None
