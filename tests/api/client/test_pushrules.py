"""Client-server API, `pushrules.yaml`: reading."""

from tests.api.server import Client, path_of


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
