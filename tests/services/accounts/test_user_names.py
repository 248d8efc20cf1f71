import pytest

from homeserver.core.appservices import Appservices
from homeserver.core.errors import (
    Exclusive,
    InvalidParam,
    InvalidUsername,
    MatrixError,
    MissingParam,
)
from homeserver.core.identifiers import ServerName, UserID
from homeserver.core.json import JsonValue
from homeserver.services.user_names import ThirdParty, UserNames, folded, named_in
from tests.appservices import appservice

IRC = appservice(sender=UserID("@bot:test:8448"))
NAMES = UserNames(ServerName("test:8448"), Appservices((IRC,)), UserID("@notices:test:8448"))


def test_capitals_become_small_letters() -> None:
    assert NAMES.new_user_id("Al-ICE.1") == "@al-ice.1:test:8448"


# The last ones are the signs for Kelvin and for Ångström, and a dotted capital I: Unicode has ASCII for their
# small letters.
@pytest.mark.parametrize(
    "name", ["", "a b", "a:b", "ä", "a\0", "a/\n", "a" * 300, "\u212aate", "\u212b", "\u0130"]
)
def test_what_is_no_name_is_refused(name: str) -> None:
    with pytest.raises(InvalidUsername):
        NAMES.new_user_id(name)


def test_reserved_names_are_refused() -> None:
    for name in ("IRC_bob", "bot", "notices"):
        with pytest.raises(Exclusive):
            NAMES.new_user_id(name)


def test_application_services_take_names_of_their_namespaces() -> None:
    assert NAMES.new_user_id("IRC_bob", IRC) == "@irc_bob:test:8448"
    for name in ("bob", "notices"):
        with pytest.raises(Exclusive):
            NAMES.new_user_id(name, IRC)
    with pytest.raises(InvalidUsername):
        NAMES.new_user_id("irc_b b", IRC)


@pytest.mark.parametrize("name", ["carol", "Carol", "@carol:test:8448"])
def test_operators_may_give_a_user_id(name: str) -> None:
    assert NAMES.new_user_id_of(name) == "@carol:test:8448"


@pytest.mark.parametrize("name", ["@carol:other", "@carol", "@:test:8448"])
def test_operators_may_not_make_users_of_others(name: str) -> None:
    with pytest.raises(InvalidUsername):
        NAMES.new_user_id_of(name)


@pytest.mark.parametrize(
    ("name", "claimed"),
    [
        ("alice", "@alice:test:8448"),
        ("Alice", "@Alice:test:8448"),
        ("@alice:test:8448", "@alice:test:8448"),
        ("@alice:test", None),
        ("alice:test:8448", None),
        ("a\0", None),
        ("a" * 300, None),
    ],
)
def test_who_is_meant(name: str, claimed: str | None) -> None:
    assert NAMES.claimed(name) == claimed


def test_only_the_localpart_is_folded() -> None:
    assert folded(UserID("@ALice\u212a:Test")) == "@alice\u212a:Test"


@pytest.mark.parametrize(
    ("identifier", "user", "name"),
    [
        ({"type": "m.id.user", "user": "alice"}, None, "alice"),
        ({"type": "m.id.user", "user": "@alice:x"}, "ignored", "@alice:x"),
        (None, "alice", "alice"),
        (
            {"type": "m.id.thirdparty", "medium": "email", "address": "a@b"},
            None,
            ThirdParty("email", "a@b"),
        ),
        ({"medium": "email", "address": "a@b"}, "alice", ThirdParty("email", "a@b")),
        ({"type": "m.id.phone", "country": "GB", "phone": "1"}, None, ThirdParty("msisdn", "1")),
    ],
)
def test_names_in_identifiers(identifier: JsonValue, user: JsonValue, name: str | ThirdParty) -> None:
    assert named_in(identifier, user) == name


@pytest.mark.parametrize(
    ("identifier", "user", "error"),
    [
        (None, None, MissingParam),
        ({"type": "m.id.user"}, None, MissingParam),
        ({"type": "m.id.user", "user": 5}, None, InvalidParam),
        ({"type": "m.id.thirdparty", "medium": "email"}, None, MissingParam),
        ({"type": "m.id.thirdparty", "medium": 1, "address": "a@b"}, None, InvalidParam),
        ({"medium": "email", "address": []}, None, InvalidParam),
        ({"type": "m.id.phone", "country": "GB"}, None, MissingParam),
        ({"type": "org.example.other"}, "alice", InvalidParam),
        ({}, None, InvalidParam),
        ([], None, InvalidParam),
        (None, ["alice"], InvalidParam),
    ],
)
def test_what_names_nobody(identifier: JsonValue, user: JsonValue, error: type[MatrixError]) -> None:
    with pytest.raises(error):
        named_in(identifier, user)
