"""Client-server API, `m.room.server_acl`."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from homeserver.core.identifiers import ServerName
from homeserver.core.json import JsonObject, JsonValue
from homeserver.core.server_acl import ServerAcl


def allows(content: JsonObject, server_name: str) -> bool:
    return ServerAcl.of(content).allows(ServerName(server_name))


@pytest.mark.parametrize("name", ["evil.com", "evil.com:8448", "evil.com:1234", "EVIL.com", "Evil.Com:1"])
def test_neither_port_nor_case_matter(name: str) -> None:
    assert not allows({"allow": ["*"], "deny": ["evil.com"]}, name)
    assert not allows({"allow": ["*"], "deny": ["eViL.cOm"]}, name)
    assert allows({"allow": ["evil.com"]}, name)
    assert allows({"allow": ["EVIL.COM"]}, name)


def test_deny_comes_before_allow() -> None:
    assert not allows({"allow": ["evil.com"], "deny": ["evil.com"]}, "evil.com")


def test_who_is_in_no_list_is_denied() -> None:
    assert not allows({"allow": ["good.com"], "deny": ["evil.com"]}, "other.com")
    assert not allows({}, "any.com")
    assert not allows({"deny": []}, "any.com")


@pytest.mark.parametrize(
    ("pattern", "name", "matches"),
    [
        ("*.evil.com", "a.evil.com", True),
        ("*.evil.com", "a.b.evil.com", True),
        ("*.evil.com", "evil.com", False),
        ("*evil.com", "evil.com", True),
        ("evil.*", "evil.org", True),
        ("evil.*", "notevil.org", False),
        ("evil?.com", "evil1.com", True),
        ("evil?.com", "evil.com", False),
        ("evil?.com", "evil12.com", False),
        ("e*l.c?m", "evil.com", True),
        ("*", "any.thing", True),
        ("evil.com:8448", "evil.com:8448", False),
        ("[2001:db8::1]", "[2001:DB8::1]:8448", True),
        ("*db8*", "[2001:db8::1]", True),
        ("1.2.3.*", "1.2.3.4:80", True),
        ("", "evil.com", False),
        ("evil.com ", "evil.com", False),
    ],
)
def test_patterns(pattern: str, name: str, matches: bool) -> None:
    assert allows({"allow": ["*"], "deny": [pattern]}, name) is not matches
    assert allows({"allow": [pattern]}, name) is matches


@pytest.mark.parametrize(
    "name", ["1.2.3.4", "1.2.3.4:8448", "[::1]", "[::1]:8448", "[2001:db8::1]", "255.255.255.255"]
)
def test_ip_literals(name: str) -> None:
    assert not allows({"allow": ["*"], "allow_ip_literals": False}, name)
    assert not allows({"allow": [name, "*"], "allow_ip_literals": False}, name)
    assert allows({"allow": ["*"], "allow_ip_literals": True}, name)
    assert allows({"allow": ["*"]}, name)


@pytest.mark.parametrize(
    "name", ["1.2.3.4.com", "a1.2.3.4", "1.2.3", "1.2.3.4.5", "example.org", "12.example"]
)
def test_names_that_are_no_ip_literals(name: str) -> None:
    assert allows({"allow": ["*"], "allow_ip_literals": False}, name)


@pytest.mark.parametrize("value", [None, 0, "false", [], {}, ""])
def test_allow_ip_literals_counts_only_as_a_boolean(value: JsonValue) -> None:
    assert allows({"allow": ["*"], "allow_ip_literals": value}, "1.2.3.4")


@pytest.mark.parametrize("junk", [None, 1, "*", {"*": "*"}, True])
def test_lists_that_are_no_lists_count_as_absent(junk: JsonValue) -> None:
    assert not allows({"allow": junk}, "a.com")
    assert allows({"allow": ["*"], "deny": junk}, "a.com")


def test_entries_that_are_no_strings_are_skipped() -> None:
    content: JsonObject = {"allow": [None, 1, ["*"], {"*": 1}, "good.com"], "deny": [3, None, [], "evil.com"]}
    assert allows(content, "good.com")
    assert not allows(content, "evil.com")
    assert not allows(content, "other.com")


NAMES = st.text("abAB.", min_size=1, max_size=10)


@given(st.lists(st.text("ab.*?", max_size=8), max_size=8), NAMES, NAMES)
def test_denying_more_allows_less(deny: list[str], denied: str, other: str) -> None:
    before: JsonObject = {"allow": ["*"], "deny": list(deny)}
    after: JsonObject = {"allow": ["*"], "deny": [*deny, denied]}
    assert not allows(after, denied)
    assert allows(before, other) or not allows(after, other)


def test_hostile_lists_are_compiled_and_matched_in_no_time() -> None:
    """CVE-2023-45129: an access control list made to be slow to match."""
    for deny in (
        ["*a" * 30_000],
        ["*" * 60_000 + "x"],
        ["a?" * 30_000],
        [f"a?{n}*b*c" for n in range(5_000)],
    ):
        acl = ServerAcl.of({"allow": ["*"], "deny": list[JsonValue](deny)})
        assert acl.allows(ServerName("a" * 200 + ".example"))
