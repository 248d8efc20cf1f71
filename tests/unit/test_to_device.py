"""How messages to devices are put into EDUs."""

import json

from hypothesis import given
from hypothesis import strategies as st

from homeserver.core.identifiers import UserID
from homeserver.core.json import canonical
from homeserver.core.to_device import MOST_CONTENT_BYTES, MOST_EDU_BYTES, direct_to_device, message_json

SENDER = UserID("@alice:test")
ID = "0" * 24

contents = st.dictionaries(st.text(max_size=3), st.integers(-5, 5) | st.text(max_size=30_000), max_size=2)
messages = st.dictionaries(
    st.text(min_size=1, max_size=5).map(lambda name: UserID(f"@{name}:remote")),
    st.dictionaries(st.text(max_size=5), contents, min_size=1, max_size=4),
    max_size=6,
)


@given(messages, st.text(max_size=10))
def test_all_of_it_is_in_canonical_edus_of_limited_size(
    given_messages: dict[UserID, dict[str, dict[str, object]]], event_type: str
) -> None:
    encoded = {
        user_id: {device_id: canonical(content) for device_id, content in each.items()}  # type: ignore[arg-type]  # what the test wants to be taken
        for user_id, each in given_messages.items()
    }
    edus = direct_to_device(SENDER, event_type, ID, encoded)
    found: dict[str, dict[str, object]] = {}
    ids = set()
    for edu in edus:
        decoded = json.loads(edu)
        assert canonical(decoded) == edu
        assert decoded["edu_type"] == "m.direct_to_device"
        content = decoded["content"]
        assert (content["sender"], content["type"]) == (SENDER, event_type)
        assert len(content["message_id"]) <= 32
        ids.add(content["message_id"])
        number = 0
        for user_id, each in content["messages"].items():
            number += len(each)
            for device_id, message in each.items():
                assert device_id not in found.setdefault(user_id, {})
                found[user_id][device_id] = message
        assert len(edu) <= MOST_EDU_BYTES or number == 1
    assert len(ids) == len(edus)
    assert found == given_messages


def test_the_largest_message_fits_into_an_edu() -> None:
    """With the longest names; JSON may have six bytes for one of a control character, which those names can hold."""
    user_id = UserID("@" + "x" * 248 + ":remote")
    content = b'{"a":"%b"}' % (b"x" * (MOST_CONTENT_BYTES - 8))
    (edu,) = direct_to_device(user_id, "t" * 255, ID, {user_id: {"d" * 255: content}})
    assert len(edu) <= MOST_EDU_BYTES


def test_few_edus_are_made_of_many_messages() -> None:
    many = {UserID(f"@u{number}:remote"): {"*": b"{}"} for number in range(1_000)}
    assert len(direct_to_device(SENDER, "t", ID, many)) == 1


def test_a_message_is_shown_as_the_specification_has_it() -> None:
    assert json.loads(message_json(SENDER, 'a"b', b'{"x":1}')) == {
        "content": {"x": 1},
        "sender": SENDER,
        "type": 'a"b',
    }
