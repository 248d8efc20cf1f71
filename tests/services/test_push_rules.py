import pytest

from homeserver.core.errors import InvalidParam, NotFound
from homeserver.core.identifiers import UserID
from homeserver.core.push_rules import UNMODIFIED, Customisation, RuleKind, new_rule
from homeserver.database.database import Database
from homeserver.services.push_rules import PushRules, content_of
from homeserver.storage import push_rules as stored
from tests.services.conftest import requester

ALICE = UserID("@alice:test")
BOB = UserID("@bob:test")


@pytest.fixture
def push_rules(database: Database) -> PushRules:
    return PushRules(database)


async def customise(database: Database) -> None:
    rule = new_rule(RuleKind.CONTENT, "cake", actions=["notify"], pattern="cake*")
    customised = (
        Customisation()
        .with_rule(RuleKind.CONTENT, rule)
        .with_enabled(RuleKind.OVERRIDE, ".m.rule.master", enabled=True)
    )
    await database.write(stored.put, ALICE, customised.to_bytes())


async def test_without_changes_there_are_the_predefined_rules(push_rules: PushRules) -> None:
    assert await push_rules.all_of(requester(ALICE)) == UNMODIFIED.to_json(ALICE)


async def test_a_users_own_rules_and_changes_are_in_it(push_rules: PushRules, database: Database) -> None:
    await customise(database)
    rules = await push_rules.all_of(requester(ALICE))
    cake = {
        "rule_id": "cake",
        "default": False,
        "enabled": True,
        "pattern": "cake*",
        "actions": ["notify"],
    }
    assert rules["content"] == [cake]
    assert await push_rules.rule_of(requester(ALICE), "content", "cake") == cake
    master = await push_rules.rule_of(requester(ALICE), "override", ".m.rule.master")
    assert master["enabled"] is True
    assert await database.read(content_of, ALICE) == {"global": rules}
    assert await push_rules.all_of(requester(BOB)) == UNMODIFIED.to_json(BOB)


async def test_unknown_rules_are_not_found(push_rules: PushRules, database: Database) -> None:
    await customise(database)
    for kind, rule_id in (("content", "other"), ("override", "cake"), ("underride", ".m.rule.master")):
        with pytest.raises(NotFound):
            await push_rules.rule_of(requester(ALICE), kind, rule_id)
    with pytest.raises(InvalidParam):
        await push_rules.rule_of(requester(ALICE), "device", "cake")
