"""Room versions, "Authorisation rules", rule 1."""

from typing import Any

import pytest

from homeserver.core.auth_rules import NotAllowed, check_auth_events, check_state
from homeserver.core.event import Event
from tests.unit.event_factory import (
    ALICE,
    VERSIONS,
    create_event,
    make_event,
    versions_with,
    versions_without,
)


def refusal(event: Event) -> str | None:
    """The rule that refuses a create event; both ways to ask must agree."""
    rule = None
    try:
        check_auth_events(event, (), None)
    except NotAllowed as error:
        rule = error.rule
    try:
        check_state(event, {})
    except NotAllowed as error:
        assert rule == error.rule  # noqa: PT017 - there may be no error
    else:
        assert rule is None
    return rule


@pytest.mark.parametrize("version", VERSIONS)
def test_a_plain_create_event_is_allowed(version: str) -> None:
    assert refusal(create_event(version)) is None


@pytest.mark.parametrize("version", VERSIONS)
def test_it_has_no_prev_events(version: str) -> None:
    content = create_event(version).content
    event = make_event(version, "m.room.create", ALICE, content, "", prev=("$other:a.example",))
    assert refusal(event) == "A create event has no prev_events"


@pytest.mark.parametrize("version", versions_without("room_id_is_create_hash"))
@pytest.mark.parametrize("room_id", ["!room:b.example", "!room:a.example:1", "!room"])
def test_the_room_id_is_of_the_senders_server(version: str, room_id: str) -> None:
    content = create_event(version).content
    event = make_event(version, "m.room.create", ALICE, content, "", prev=(), room_id=room_id)
    assert refusal(event) == "The room ID of a create event names the server of its sender"


@pytest.mark.parametrize("version", versions_with("room_id_is_create_hash"))
def test_it_has_no_room_id_where_that_is_its_hash(version: str) -> None:
    content = create_event(version).content
    event = make_event(version, "m.room.create", ALICE, content, "", prev=(), room_id="!room:a.example")
    assert refusal(event) == "A create event has no room_id"


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("stated", ["0", "13", "org.example.unheard", "", 1, None, ["1"]])
def test_a_stated_room_version_is_a_recognised_one(version: str, stated: Any) -> None:
    event = create_event(version, room_version=stated)
    assert refusal(event) == "The room version of a create event is a recognised one"


@pytest.mark.parametrize("version", VERSIONS)
def test_the_room_version_need_not_be_stated(version: str) -> None:
    content = {key: value for key, value in create_event(version).content.items() if key != "room_version"}
    assert refusal(make_event(version, "m.room.create", ALICE, content, "", prev=())) is None


@pytest.mark.parametrize("version", VERSIONS)
def test_content_names_the_creator_until_the_sender_is_it(version: str) -> None:
    event = make_event(version, "m.room.create", ALICE, {"room_version": version}, "", prev=())
    expected = None if version in ("11", "12") else "A create event names its creator"
    assert refusal(event) == expected


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize(
    ("creators", "valid"),
    [
        ([], True),
        (["@bob:b.example", "@carol:c.example:8448"], True),
        (["@Old Fashioned~é:b.example"], True),
        ("@bob:b.example", False),
        (None, False),
        ({}, False),
        ([1], False),
        (["@bob:b.example", None], False),
        (["bob:b.example"], False),
        (["@bob"], False),
        (["@bob:b example"], False),
        (["@" + "b" * 250 + ":b.example"], False),
    ],
)
def test_additional_creators_are_a_list_of_user_ids(version: str, creators: Any, valid: bool) -> None:
    expected = None
    if version == "12" and not valid:
        expected = "The additional creators of a create event are a list of user IDs"
    assert refusal(create_event(version, additional_creators=creators)) == expected


@pytest.mark.parametrize("version", VERSIONS)
def test_a_second_create_event_is_refused(version: str) -> None:
    first = create_event(version)
    second = make_event(version, "m.room.create", ALICE, first.content, "", prev=(), event_id="$second")
    check_auth_events(first, (), first)
    with pytest.raises(NotAllowed, match="only one create event"):
        check_auth_events(second, (), first)
