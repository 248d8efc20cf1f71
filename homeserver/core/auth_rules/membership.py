"""Rules for membership events.

Spec: room versions, "Authorisation rules": the rule for `m.room.member`.
"""

from typing import Final

import msgspec

from homeserver.core.auth_events import JOIN_RULES, POWER_LEVELS
from homeserver.core.auth_rules.not_allowed import NotAllowed
from homeserver.core.auth_rules.third_party_invites import check_third_party_invite
from homeserver.core.event import Event, StateMap
from homeserver.core.json import JsonValue
from homeserver.core.power_levels import PowerLevels, creators_of

_RULES_FOR_INVITED: Final = frozenset({"invite", "knock"})
_RESTRICTED_RULES: Final = frozenset({"restricted", "knock_restricted"})


class _Change(msgspec.Struct, frozen=True):
    """A membership event and the state that it changes."""

    event: Event
    target: str
    state: StateMap[Event]
    create: Event
    given_levels: PowerLevels | None

    @property
    def levels(self) -> PowerLevels:
        """Read only where a rule asks for them: joins, the most frequent of these events, seldom do."""
        if self.given_levels is not None:
            return self.given_levels
        return PowerLevels.of(self.state.get(POWER_LEVELS), self.create)

    @property
    def sender_membership(self) -> JsonValue:
        return membership_in(self.state, self.event.sender)

    @property
    def target_membership(self) -> JsonValue:
        return membership_in(self.state, self.target)

    @property
    def join_rule(self) -> JsonValue:
        """The room's join rule, as far as its version knows it; `invite` if the room has stated none."""
        version = self.event.room_version
        join_rules = self.state.get(JOIN_RULES)
        rule = "invite" if join_rules is None else join_rules.content.get("join_rule", "invite")
        known = {
            "invite": True,
            "public": True,
            "knock": version.knocking,
            "restricted": version.restricted_joins,
            "knock_restricted": version.knock_restricted,
        }
        return rule if isinstance(rule, str) and known.get(rule) else None


def membership_in(state: StateMap[Event], user_id: str) -> JsonValue:
    """The user's `membership` in this state; None if they have none."""
    member = state.get(("m.room.member", user_id))
    return None if member is None else member.content.get("membership")


def check_membership(
    event: Event, state: StateMap[Event], create: Event, power_levels: PowerLevels | None
) -> None:
    """Whether the membership event is allowed in this state.

    Errors: NotAllowed.
    """
    # A membership event has a state key, and content.membership.
    if event.state_key is None or "membership" not in event.content:
        raise NotAllowed("A membership event has a state key and a membership")
    # (That a server which authorises a join has signed it does not depend on the state: see citations.py.)
    change = _Change(event, event.state_key, state, create, power_levels)
    membership = event.content["membership"]
    if membership == "join":
        _check_join(change)
    elif membership == "invite":
        _check_invite(change)
    elif membership == "leave":
        _check_leave(change)
    elif membership == "ban":
        _check_ban(change)
    elif membership == "knock" and event.room_version.knocking:
        _check_knock(change)
    else:
        # Any other membership is unknown.
        raise NotAllowed("The membership is one that the room version knows")


def _check_join(change: _Change) -> None:
    # If the create event is the only previous event, the creator may join.
    if change.event.prev_events == (change.create.event_id,) and change.target in _first_member(
        change.create
    ):
        return
    # The sender joins themselves.
    if change.event.sender != change.target:
        raise NotAllowed("A user can join for themselves only")
    membership = change.sender_membership
    # The sender is not banned.
    if membership == "ban":
        raise NotAllowed("A user who is banned cannot join")
    rule = change.join_rule
    # Where one joins by invitation (which knocking leads to), the invited and the joined may.
    if rule in _RULES_FOR_INVITED and membership in ("invite", "join"):
        return
    # Where joins are restricted, the invited and the joined may, and those for whom somebody vouches who can
    # invite.
    if rule in _RESTRICTED_RULES:
        if membership not in ("invite", "join"):
            _check_authoriser(change)
        return
    # Where the room is public, everybody may.
    if rule == "public":
        return
    # Otherwise, reject.
    raise NotAllowed("A user can join by invitation, or if the join rules let them")


def _first_member(create: Event) -> frozenset[str]:
    """Who may join a room that has nothing but its create event: its creator, not the additional ones."""
    if create.room_version.implicit_room_creator:
        return frozenset((create.sender,))
    return creators_of(create)


def _check_authoriser(change: _Change) -> None:
    # The user whom join_authorised_via_users_server names is joined, and may invite others.
    authoriser = change.event.content.get("join_authorised_via_users_server")
    levels = change.levels
    if (
        not isinstance(authoriser, str)
        or membership_in(change.state, authoriser) != "join"
        or not levels.user_level(authoriser) >= levels.invite
    ):
        raise NotAllowed("A restricted join is authorised by a member who can invite")


def _check_invite(change: _Change) -> None:
    # An invite that redeems a third-party invite is allowed if it proves to, and not otherwise.
    if "third_party_invite" in change.event.content:
        check_third_party_invite(change.event, change.target, change.state, change.target_membership)
        return
    # The sender is joined.
    if change.sender_membership != "join":
        raise NotAllowed("The sender of an invite is joined")
    # The target is neither joined nor banned.
    if change.target_membership in ("join", "ban"):
        raise NotAllowed("A user who is joined or banned cannot be invited")
    # The sender has the invite level.
    levels = change.levels
    if not levels.user_level(change.event.sender) >= levels.invite:
        raise NotAllowed("The sender of an invite has the power to invite")


def _check_leave(change: _Change) -> None:
    # Who is invited, joined, or (where that exists) knocking may leave.
    if change.event.sender == change.target:
        can_leave = ("invite", "join", "knock") if change.event.room_version.knocking else ("invite", "join")
        if change.sender_membership not in can_leave:
            raise NotAllowed("A user can leave who is in the room, or invited to it, or knocking")
        return
    # Who removes another is joined.
    if change.sender_membership != "join":
        raise NotAllowed("The sender of a kick or unban is joined")
    levels = change.levels
    sender_level = levels.user_level(change.event.sender)
    # Who lifts a ban has the ban level.
    if change.target_membership == "ban" and not sender_level >= levels.ban:
        raise NotAllowed("The sender of an unban has the power to ban")
    # The sender has the kick level, and more power than the target.
    if not (sender_level >= levels.kick and levels.user_level(change.target) < sender_level):
        raise NotAllowed(
            "The sender of a kick or unban has the power to kick, and more power than its target"
        )


def _check_ban(change: _Change) -> None:
    # The sender is joined.
    if change.sender_membership != "join":
        raise NotAllowed("The sender of a ban is joined")
    # The sender has the ban level, and more power than the target.
    levels = change.levels
    sender_level = levels.user_level(change.event.sender)
    if not (sender_level >= levels.ban and levels.user_level(change.target) < sender_level):
        raise NotAllowed("The sender of a ban has the power to ban, and more power than its target")


def _check_knock(change: _Change) -> None:
    # The join rule is one under which one knocks.
    if change.join_rule not in ("knock", "knock_restricted"):
        raise NotAllowed("The join rules let users knock")
    # The sender knocks themselves.
    if change.event.sender != change.target:
        raise NotAllowed("A user can knock for themselves only")
    # The sender is neither banned nor invited nor joined.
    if change.sender_membership in ("ban", "invite", "join"):
        raise NotAllowed("A user can knock who is not banned, invited or joined")
