"""Client-server API, `pushrules.yaml`: reading."""

import pytest

from tests.api.user_data_harness import Api


async def test_all_rules_are_given_by_kind(api: Api) -> None:
    rulesets = (await api.get("/pushrules/")).body
    assert set(rulesets) == {"global"}
    assert set(rulesets["global"]) == {"override", "content", "room", "sender", "underride"}
    assert rulesets["global"]["override"][0]["rule_id"] == ".m.rule.master"
    assert (await api.get("/pushrules/global/")).body == rulesets["global"]


async def test_one_rule_its_state_and_its_actions(api: Api) -> None:
    path = "/pushrules/global/underride/.m.rule.message"
    rule = (await api.get(path)).body
    assert rule["rule_id"] == ".m.rule.message"
    assert rule["default"] is True
    assert (await api.get(f"{path}/enabled")).body == {"enabled": rule["enabled"]}
    assert (await api.get(f"{path}/actions")).body == {"actions": rule["actions"]}


@pytest.mark.parametrize("suffix", ["", "/enabled", "/actions"])
async def test_what_is_not_there(api: Api, suffix: str) -> None:
    answer = await api.get(f"/pushrules/global/content/nocake{suffix}")
    assert (answer.status, answer.errcode) == (404, "M_NOT_FOUND")
    answer = await api.get(f"/pushrules/global/cake/nocake{suffix}")
    assert (answer.status, answer.errcode) == (400, "M_INVALID_PARAM")
    assert (await api.get(f"/pushrules/global/content/nocake{suffix}", by=None)).status == 401
