"""Room versions, "Authorisation rules": what an event cites."""

from collections.abc import Sequence

import attrs
import pytest

from homeserver.core.auth_rules import NotAllowed, auth_state, check_auth_events, check_state
from homeserver.core.event import Event
from homeserver.core.identifiers import ServerName
from tests.unit.event_factory import (
    ALICE,
    BOB,
    CAROL,
    VERSIONS,
    create_event,
    make_event,
    member,
    versions_with,
    versions_without,
)


def refusal(
    event: Event, auth: Sequence[Event], create: Event | None, signed_by: Sequence[str] = ()
) -> str | None:
    try:
        check_auth_events(event, auth, create, signed_by=[ServerName(server) for server in signed_by])
    except NotAllowed as error:
        return error.rule
    return None


def cited_by_alice(version: str) -> list[Event]:
    """What a message of Alice's cites."""
    levels = make_event(version, "m.room.power_levels", ALICE, {"users": {}}, "")
    cited = [levels, member(version, ALICE, "join")]
    return cited if version == "12" else [create_event(version), *cited]


def message(version: str, auth: Sequence[Event]) -> Event:
    return make_event(version, "m.room.message", ALICE, auth=auth)


@pytest.mark.parametrize("version", VERSIONS)
def test_what_is_needed_may_be_cited(version: str) -> None:
    auth, create = cited_by_alice(version), create_event(version)
    event = message(version, auth)
    assert refusal(event, auth, create) is None
    check_state(event, auth_state(auth, create))


@pytest.mark.parametrize("version", VERSIONS)
def test_two_events_for_one_entry_are_refused(version: str) -> None:
    auth = [*cited_by_alice(version), member(version, ALICE, "join")]
    assert "no two events" in (refusal(message(version, auth), auth, create_event(version)) or "")


@pytest.mark.parametrize("version", VERSIONS)
def test_one_event_twice_is_refused(version: str) -> None:
    auth = cited_by_alice(version)
    event = message(version, [*auth, auth[-1]])
    assert "no two events" in (refusal(event, auth, create_event(version)) or "")


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize(
    ("type", "state_key"),
    [
        ("m.room.topic", ""),
        ("m.room.join_rules", ""),
        ("m.room.member", BOB),
        ("m.room.power_levels", "other"),
        ("m.room.power_levels", None),
    ],
)
def test_what_is_not_needed_is_refused(version: str, type: str, state_key: str | None) -> None:
    auth = [*cited_by_alice(version), make_event(version, type, ALICE, {}, state_key)]
    assert "only events that the event needs" in (
        refusal(message(version, auth), auth, create_event(version)) or ""
    )


@pytest.mark.parametrize("version", VERSIONS)
def test_rejected_events_are_refused(version: str) -> None:
    auth = cited_by_alice(version)
    auth[-1] = attrs.evolve(auth[-1], rejected=True)
    assert "rejected itself" in (refusal(message(version, auth), auth, create_event(version)) or "")


@pytest.mark.parametrize("version", VERSIONS)
def test_events_of_other_rooms_are_refused(version: str) -> None:
    """A member of one room must not speak in another by citing the first."""
    auth = cited_by_alice(version)
    elsewhere = "!elsewhere" if version == "12" else "!elsewhere:a.example"
    auth[-1] = make_event(version, "m.room.member", ALICE, {"membership": "join"}, ALICE, room_id=elsewhere)
    assert "same room" in (refusal(message(version, auth), auth, create_event(version)) or "")


@pytest.mark.parametrize("version", versions_without("room_id_is_create_hash"))
def test_the_create_event_is_cited(version: str) -> None:
    auth = cited_by_alice(version)[1:]
    assert "has the create event" in (refusal(message(version, auth), auth, create_event(version)) or "")


@pytest.mark.parametrize("version", versions_without("room_id_is_create_hash"))
def test_another_create_event_for_the_same_room_id_is_refused(version: str) -> None:
    """The server that the room ID names could make a second one, and take the room over."""
    auth = cited_by_alice(version)
    forged = make_event(version, "m.room.create", ALICE, auth[0].content, "", prev=(), event_id="$forged")
    auth[0] = forged
    event = message(version, auth)
    assert "that of the room" in (refusal(event, auth, create_event(version)) or "")
    # As long as no create event is known, this one is as good as another.
    assert refusal(event, auth, None) is None


@pytest.mark.parametrize("version", versions_with("room_id_is_create_hash"))
def test_the_create_event_is_not_cited_where_it_is_implied(version: str) -> None:
    create = create_event(version)
    auth = [create, *cited_by_alice(version)]
    assert "only events that the event needs" in (refusal(message(version, auth), auth, create) or "")


@pytest.mark.parametrize("version", versions_with("room_id_is_create_hash"))
def test_the_room_id_is_that_of_an_accepted_create_event(version: str) -> None:
    auth = cited_by_alice(version)
    event = message(version, auth)
    rule = "The room ID is that of an accepted create event"
    create = create_event(version)
    assert refusal(event, auth, None) == rule
    assert refusal(event, auth, attrs.evolve(create, rejected=True)) == rule
    other = make_event(version, "m.room.create", ALICE, create.content, "", prev=(), event_id="$other")
    assert refusal(event, auth, other) == rule
    topic = make_event(version, "m.room.topic", ALICE, {}, "", event_id="$room")
    assert refusal(event, auth, topic) == rule


@pytest.mark.parametrize("version", VERSIONS)
def test_the_events_given_must_be_those_cited(version: str) -> None:
    auth = cited_by_alice(version)
    with pytest.raises(ValueError, match="not the events"):
        check_auth_events(message(version, auth), auth[1:], create_event(version))


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("membership", ["join", "invite", "leave"])
def test_who_authorises_a_join_has_signed_it(version: str, membership: str) -> None:
    auth = [] if version == "12" else [create_event(version)]
    content = {"membership": membership, "join_authorised_via_users_server": BOB}
    event = make_event(version, "m.room.member", CAROL, content, CAROL, auth=auth)
    create = create_event(version)
    expected = "signed by the server" if version in versions_with("restricted_joins") else None
    for signers in ([], ["a.example", "c.example"]):
        rule = refusal(event, auth, create, signers)
        assert (rule is None) if expected is None else (rule is not None and expected in rule)
    assert refusal(event, auth, create, ["b.example"]) is None


@pytest.mark.parametrize("version", versions_with("restricted_joins"))
@pytest.mark.parametrize("authoriser", [None, 1, "", "bob", ["@bob:b.example"]])
def test_who_authorises_a_join_is_a_user(version: str, authoriser: object) -> None:
    auth = [] if version == "12" else [create_event(version)]
    content = {"membership": "join", "join_authorised_via_users_server": authoriser}
    event = make_event(version, "m.room.member", CAROL, content, CAROL, auth=auth)
    rule = refusal(event, auth, create_event(version), ["b.example", ""])
    assert rule == "join_authorised_via_users_server is a user ID"
