import msgspec
from hypothesis import given
from hypothesis import strategies as st

from homeserver.core.endpoint_errors import ProfileTooLarge
from homeserver.core.profiles import MAX_PROFILE_BYTES, NameAndAvatar, check_size

KEYS = st.text("abc.", min_size=1, max_size=200)


@given(st.dictionaries(KEYS, st.integers(0, 20_000), min_size=1, max_size=8))
def test_the_size_is_that_of_the_whole_profile_as_json(lengths: dict[str, int]) -> None:
    profile = {key: "x" * length for key, length in lengths.items()}
    fits = len(msgspec.json.encode(profile)) <= MAX_PROFILE_BYTES
    try:
        check_size({key: len(msgspec.json.encode(value)) for key, value in profile.items()})
    except ProfileTooLarge:
        assert not fits
    else:
        assert fits


def test_only_strings_are_names() -> None:
    assert NameAndAvatar.of({"displayname": None, "avatar_url": 5}) == NameAndAvatar()
    assert NameAndAvatar.of({"displayname": "A", "m.tz": "x"}).to_content() == {"displayname": "A"}
