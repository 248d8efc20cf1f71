import pytest

from homeserver.core.identifiers import ServerName
from homeserver.core.server_lists import ServerLists


@pytest.mark.parametrize(
    ("allow", "deny", "name", "expected"),
    [
        (None, [], "a.test", True),
        ([], [], "a.test", False),
        (["a.test"], [], "a.test", True),
        (["a.test"], [], "A.TEST", True),
        (["a.test"], [], "a.test:8448", False),
        (["a.test*"], [], "a.test:8448", True),
        (["*.test"], [], "a.test", True),
        (["*.test"], [], "test", False),
        (["*.test"], ["evil.*"], "evil.test", False),
        (None, ["evil.test"], "Evil.Test", False),
        (None, ["evil.test"], "good.test", True),
        (None, ["?.test"], "ab.test", True),
    ],
)
def test_lists(allow: list[str] | None, deny: list[str], name: str, *, expected: bool) -> None:
    assert ServerLists.of(allow, deny).allows(ServerName(name)) is expected
