"""Client-server API, "Room History Visibility", "Server behaviour"."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from homeserver.core.history_visibility import history_visibility_of, may_see

VISIBILITIES = ["world_readable", "shared", "invited", "joined"]
MEMBERSHIPS = [None, "invite", "join", "knock", "leave", "ban"]


def sees(visibility: str | None, membership: str | None, *, joined_later: bool) -> bool:
    """For an event that changes neither."""
    return may_see(
        visibility_before=visibility,
        visibility_after=visibility,
        membership_before=membership,
        membership_after=membership,
        joined_later=joined_later,
    )


TABLE: dict[str, tuple[set[str | None], set[str | None]]] = {
    # visibility: memberships that see; and those of a user who joins later
    "world_readable": (set(MEMBERSHIPS), set(MEMBERSHIPS)),
    "shared": ({"join"}, set(MEMBERSHIPS)),
    "invited": ({"join", "invite"}, {"join", "invite"}),
    "joined": ({"join"}, {"join"}),
}


@pytest.mark.parametrize("visibility", VISIBILITIES)
@pytest.mark.parametrize("membership", MEMBERSHIPS)
def test_the_table(visibility: str, membership: str | None) -> None:
    at_once, later = TABLE[visibility]
    assert sees(visibility, membership, joined_later=False) is (membership in at_once)
    assert sees(visibility, membership, joined_later=True) is (membership in later)


@pytest.mark.parametrize("unset", [None, "", "public", "World_Readable", "world_readable "])
@pytest.mark.parametrize("membership", MEMBERSHIPS)
def test_what_is_unset_or_not_understood_is_shared(unset: str | None, membership: str | None) -> None:
    for joined_later in (False, True):
        assert sees(unset, membership, joined_later=joined_later) is sees(
            "shared", membership, joined_later=joined_later
        )


@pytest.mark.parametrize("value", [None, 1, True, [], ["joined"], {}, "", "JOINED"])
def test_what_the_event_says(value: Any) -> None:
    assert history_visibility_of(value) == "shared"
    assert [history_visibility_of(known) for known in VISIBILITIES] == VISIBILITIES


@pytest.mark.parametrize("membership", [None, "invite", "knock", "leave", "ban"])
def test_who_never_joined_reads_no_shared_history(membership: str | None) -> None:
    """One who knocks, or is invited and then removed, has not been in the room."""
    for visibility in ("shared", "joined", None):
        assert not sees(visibility, membership, joined_later=False)


@pytest.mark.parametrize("before", VISIBILITIES)
@pytest.mark.parametrize("after", VISIBILITIES)
@pytest.mark.parametrize("membership", MEMBERSHIPS)
@pytest.mark.parametrize("joined_later", [False, True])
def test_a_change_of_the_visibility_is_seen_by_who_sees_either_side(
    before: str, after: str, membership: str | None, joined_later: bool
) -> None:
    assert may_see(
        visibility_before=before,
        visibility_after=after,
        membership_before=membership,
        membership_after=membership,
        joined_later=joined_later,
    ) is (
        sees(before, membership, joined_later=joined_later)
        or sees(after, membership, joined_later=joined_later)
    )


@pytest.mark.parametrize("visibility", [*VISIBILITIES, None])
def test_users_see_how_they_come_and_go(visibility: str | None) -> None:
    for before, after in (("invite", "join"), (None, "join"), ("join", "leave"), ("join", "ban")):
        assert may_see(
            visibility_before=visibility,
            visibility_after=visibility,
            membership_before=before,
            membership_after=after,
            joined_later=False,
        )


def test_the_rejection_of_an_invite_is_seen_where_invites_are() -> None:
    for visibility in VISIBILITIES:
        assert may_see(
            visibility_before=visibility,
            visibility_after=visibility,
            membership_before="invite",
            membership_after="leave",
            joined_later=False,
        ) is (visibility in ("world_readable", "invited"))


@given(
    st.sampled_from([*VISIBILITIES, None, "?"]),
    st.sampled_from(MEMBERSHIPS),
    st.booleans(),
)
def test_joining_later_never_hides_anything(
    visibility: str | None, membership: str | None, joined_later: bool
) -> None:
    if sees(visibility, membership, joined_later=joined_later):
        assert sees(visibility, membership, joined_later=True)
        assert sees(visibility, "join", joined_later=joined_later)
