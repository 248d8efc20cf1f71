"""Client-server API, `pushrules.yaml`."""

from typing import Any

import pytest

from homeserver.core.push_rules.customisations import MAX_PATTERN_LENGTH, MAX_PATTERNS
from tests.api.server import Client, TestServer, path_of

NOTIFY_LOUDLY = ["notify", {"set_tweak": "sound", "value": "bing"}, {"set_tweak": "highlight"}]


def rule_path(kind: str, rule_id: str, *attribute: str) -> str:
    return path_of("pushrules", "global", kind, rule_id, *attribute)


async def rules_of(client: Client, kind: str) -> list[str]:
    """The IDs of the user's own rules of a kind, the most important first."""
    rules = (await client.get(path_of("pushrules", "global", ""))).ok()
    return [rule["rule_id"] for rule in rules[kind] if not rule["default"]]


async def told_of(client: Client, since: str) -> list[Any]:
    """The contents of `m.push_rules` that a sync from there gives."""
    events = (await client.sync(since)).get("account_data", {}).get("events", [])
    return [event["content"] for event in events if event["type"] == "m.push_rules"]


async def test_all_rules_are_given_by_kind(alice: Client) -> None:
    rulesets = (await alice.get(path_of("pushrules", ""))).ok()
    assert set(rulesets) == {"global"}
    assert set(rulesets["global"]) == {"override", "content", "room", "sender", "underride"}
    assert rulesets["global"]["override"][0]["rule_id"] == ".m.rule.master"
    assert (await alice.get(path_of("pushrules", "global", ""))).ok() == rulesets["global"]
    # A client gets them with its first sync, too.
    (event,) = (e for e in (await alice.sync())["account_data"]["events"] if e["type"] == "m.push_rules")
    assert event["content"] == rulesets


async def test_every_rule_its_state_and_its_actions(alice: Client) -> None:
    rules = (await alice.get(path_of("pushrules", "global", ""))).ok()
    for kind, listed in rules.items():
        for rule in listed:
            path = path_of("pushrules", "global", kind, rule["rule_id"])
            assert (await alice.get(path)).ok() == rule
            assert rule["default"] is True
            assert (await alice.get(f"{path}/enabled")).ok() == {"enabled": rule["enabled"]}
            assert (await alice.get(f"{path}/actions")).ok() == {"actions": rule["actions"]}


async def test_what_is_not_there(alice: Client, guest: Client) -> None:
    for attribute in ((), ("enabled",), ("actions",)):
        path = path_of("pushrules", "global", "content", "nocake", *attribute)
        (await alice.get(path)).error(404, "M_NOT_FOUND")
        (await guest.get(path)).error(403, "M_GUEST_ACCESS_FORBIDDEN")
        nowhere = path_of("pushrules", "global", "cake", "nocake", *attribute)
        (await alice.get(nowhere)).error(400, "M_INVALID_PARAM")
    (await alice.get(path_of("pushrules", "device", ""))).error(404, "M_UNRECOGNIZED")


async def test_a_rule_is_made_changed_and_removed(server: TestServer, alice: Client) -> None:
    phone = await server.device(alice)
    since = (await phone.sync())["next_batch"]
    path = rule_path("content", "no cäke")
    rule = {"pattern": "cake*lie", "actions": ["dont_notify", "notify"]}
    assert (await alice.put(path, rule)).ok() == {}
    made = {
        "rule_id": "no cäke",
        "default": False,
        "enabled": True,
        "pattern": "cake*lie",
        "actions": ["notify"],
    }
    assert (await alice.get(path)).ok() == made
    (told,) = await told_of(phone, since)
    assert told == (await phone.get(path_of("pushrules", ""))).ok()
    assert told["global"]["content"] == [made]
    # Disabled, it stays so when it is changed.
    assert (await alice.put(f"{path}/enabled", {"enabled": False})).ok() == {}
    assert (await alice.get(f"{path}/enabled")).ok() == {"enabled": False}
    assert (await alice.put(f"{path}/actions", {"actions": NOTIFY_LOUDLY})).ok() == {}
    assert (await alice.get(f"{path}/actions")).ok() == {"actions": NOTIFY_LOUDLY}
    (await alice.put(path, {"pattern": "cake", "actions": []})).ok()
    assert (await alice.get(path)).ok() == {**made, "enabled": False, "pattern": "cake", "actions": []}
    assert (await alice.delete(path)).ok() == {}
    (await alice.delete(path)).error(404, "M_NOT_FOUND")
    (await alice.get(path)).error(404, "M_NOT_FOUND")


async def test_what_changes_nothing_is_not_told(server: TestServer, alice: Client) -> None:
    phone = await server.device(alice)
    (await alice.put(rule_path("room", "!a:b"), {"actions": []})).ok()
    since = (await phone.sync())["next_batch"]
    (await alice.put(rule_path("room", "!a:b"), {"actions": []})).ok()
    (await alice.put(rule_path("override", ".m.rule.master", "enabled"), {"enabled": False})).ok()
    assert await told_of(phone, since) == []


async def test_the_order_of_rules(alice: Client) -> None:
    async def put(rule_id: str, **place: str) -> None:
        (await alice.put(rule_path("override", rule_id), {"actions": [], "conditions": []}, **place)).ok()

    for rule_id in ("c", "b", "a"):
        await put(rule_id)
    assert await rules_of(alice, "override") == ["a", "b", "c"]
    await put("d", before="b")
    await put("e", after="b")
    assert await rules_of(alice, "override") == ["a", "d", "b", "e", "c"]
    await put("c", before="a", after="e")
    await put("b")
    assert await rules_of(alice, "override") == ["c", "a", "d", "b", "e"]
    for place in ({"before": "nothing"}, {"after": "nothing"}, {"before": ".m.rule.tombstone"}):
        answer = await alice.put(rule_path("override", "f"), {"actions": []}, **place)
        answer.error(400, "M_UNKNOWN")
    (await alice.put(rule_path("underride", "f"), {"actions": []}, before="a")).error(400, "M_UNKNOWN")
    assert await rules_of(alice, "override") == ["c", "a", "d", "b", "e"]


async def test_predefined_rules_can_be_disabled_and_changed_but_not_removed(
    alice: Client, bob: Client
) -> None:
    path = rule_path("underride", ".m.rule.message")
    (await alice.put(f"{path}/enabled", {"enabled": False})).ok()
    (await alice.put(f"{path}/actions", {"actions": NOTIFY_LOUDLY})).ok()
    changed = (await alice.get(path)).ok()
    assert (changed["enabled"], changed["actions"], changed["default"]) == (False, NOTIFY_LOUDLY, True)
    assert (await bob.get(path)).ok()["enabled"] is True
    (await alice.delete(path)).error(400, "M_INVALID_PARAM")
    (await alice.put(path, {"actions": []})).error(400, "M_INVALID_PARAM")
    assert (await alice.get(path)).ok() == changed


@pytest.mark.parametrize(
    ("kind", "rule_id", "body", "errcode"),
    [
        ("content", ".mine", {"actions": [], "pattern": "x"}, "M_INVALID_PARAM"),
        ("content", "a/b", {"actions": [], "pattern": "x"}, "M_INVALID_PARAM"),
        ("content", "a\\b", {"actions": [], "pattern": "x"}, "M_INVALID_PARAM"),
        ("content", "x" * 600, {"actions": [], "pattern": "x"}, "M_INVALID_PARAM"),
        ("content", "x", {"actions": []}, "M_MISSING_PARAM"),
        ("content", "x", {"actions": [], "pattern": "x" * (MAX_PATTERN_LENGTH + 1)}, "M_INVALID_PARAM"),
        ("content", "x", {"pattern": "x"}, "M_BAD_JSON"),
        ("content", "x", {"actions": "notify", "pattern": "x"}, "M_BAD_JSON"),
        ("content", "x", {"actions": [{"value": "bing"}], "pattern": "x"}, "M_INVALID_PARAM"),
        ("override", "x", {"actions": [], "conditions": [{"key": "type"}]}, "M_INVALID_PARAM"),
        ("override", "x", {"actions": [], "conditions": ["event_match"]}, "M_BAD_JSON"),
        ("device", "x", {"actions": []}, "M_INVALID_PARAM"),
    ],
)
async def test_malformed_rules(alice: Client, kind: str, rule_id: str, body: object, errcode: str) -> None:
    # What the specification's files forbid is sent all the same.
    answer = await alice.request("PUT", rule_path(kind, rule_id), body, check=False)
    answer.error(400, errcode)
    assert await rules_of(alice, "content") == []
    assert await rules_of(alice, "override") == []


async def test_changes_of_what_is_not_there(alice: Client, guest: Client) -> None:
    for attribute, body in (("enabled", {"enabled": True}), ("actions", {"actions": []})):
        path = rule_path("content", "nocake", attribute)
        (await alice.put(path, body)).error(404, "M_NOT_FOUND")
        (await alice.request("PUT", path, {attribute: 1}, check=False)).error(400, "M_BAD_JSON")
        (await guest.put(path, body)).error(403, "M_GUEST_ACCESS_FORBIDDEN")
        # A predefined rule is found under its own kind only.
        (await alice.put(rule_path("content", ".m.rule.master", attribute), body)).error(404, "M_NOT_FOUND")
    (await alice.put(rule_path("underride", ".m.rule.message", "actions"), {"actions": [{}]})).error(
        400, "M_INVALID_PARAM"
    )


async def test_there_is_an_end_to_patterns(alice: Client) -> None:
    conditions = [{"kind": "event_match", "key": "content.body", "pattern": "a?"}] * MAX_PATTERNS
    (await alice.put(rule_path("override", "many"), {"actions": [], "conditions": conditions})).ok()
    (await alice.put(rule_path("content", "one"), {"actions": [], "pattern": "b"})).error(413, "M_TOO_LARGE")


async def test_what_is_stored_counts_from_the_next_event_on(alice: Client, bob: Client) -> None:
    room = await alice.create_room(preset="public_chat")
    await bob.join(room)

    async def counts() -> tuple[int, int]:
        unread = (await bob.sync())["rooms"]["join"][room]["unread_notifications"]
        return unread["notification_count"], unread["highlight_count"]

    await alice.send(room, "tea")
    assert await counts() == (1, 0)
    (await bob.put(rule_path("content", "tea"), {"pattern": "tea", "actions": NOTIFY_LOUDLY})).ok()
    await alice.send(room, "more tea?")
    assert await counts() == (2, 1)
    (await bob.put(rule_path("room", room), {"actions": []})).ok()
    await alice.send(room, "cake")
    await alice.send(room, "cake and tea")
    assert await counts() == (3, 2)
    (await bob.put(rule_path("override", ".m.rule.master", "enabled"), {"enabled": True})).ok()
    await alice.send(room, "tea, tea, tea")
    assert await counts() == (3, 2)
