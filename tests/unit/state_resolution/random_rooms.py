"""Rooms that grow by chance, with forks and merges, and with senders who lie about time and depth."""

import random
from collections.abc import Sequence
from typing import Any

import attrs

from homeserver.core.event import Event, StateKey
from homeserver.core.identifiers import EventID
from homeserver.core.room_versions import RoomVersion
from tests.unit.event_factory import ALICE, BOB, CAROL, DAVE, Dag, new_room

USERS = (ALICE, BOB, CAROL, DAVE)
JOIN_RULES = ("public", "invite", "knock", "restricted")
LEVELS = (0, 25, 50, 75, 100)

Move = tuple[int, int, int, int, int, int]
"""What happens, by whom, to whom, a value, and the two events it follows; each taken modulo what there is."""

State = dict[StateKey, EventID]


def grow(version: RoomVersion, moves: Sequence[Move]) -> Dag:
    """A room in which these moves are made; those that the rules forbid stay in it as rejected events."""
    dag, head = new_room(version, users={BOB: 50}, members=[BOB, CAROL])
    heads = [head]
    for what, who, whom, value, first, second in moves:
        sender, target = USERS[who % len(USERS)], USERS[whom % len(USERS)]
        event_type, state_key, content = move(what, sender, target, value, dag, heads[-1])
        prev = list(dict.fromkeys((heads[-1 - first % len(heads)], heads[-1 - second % len(heads)])))
        heads.append(
            dag.send(
                event_type,
                sender,
                content,
                state_key,
                prev=prev,
                ts=value % 7,
                depth=None if value % 3 else (value * 37) % 11,
                event_id=_event_id(dag, version),
            )
        )
    return dag


def _event_id(dag: Dag, version: RoomVersion) -> str:
    # Not in the order of creation, but always the same.
    number = len(dag.events)
    event_id = f"${(number * 7919) % 10_007:05}-{number}"
    return event_id + ":a.example" if version.event_references_with_hashes else event_id


def move(
    what: int, sender: str, target: str, value: int, dag: Dag, head: Event
) -> tuple[str, str | None, dict[str, Any]]:
    match what % 9:
        case 0:
            return "m.room.member", sender, {"membership": "join"}
        case 1:
            return "m.room.member", target, {"membership": "leave"}
        case 2:
            return "m.room.member", target, {"membership": "ban"}
        case 3:
            return "m.room.member", target, {"membership": "invite"}
        case 4:
            return "m.room.power_levels", "", changed_levels(target, value, dag, head)
        case 5:
            return "m.room.join_rules", "", {"join_rule": JOIN_RULES[value % len(JOIN_RULES)]}
        case 6:
            return "m.room.topic", "", {"topic": str(value)}
        case 7:
            return "org.example.own", sender, {"value": value}
        case _:
            return "m.room.message", None, {"body": str(value)}


def changed_levels(target: str, value: int, dag: Dag, head: Event) -> dict[str, Any]:
    event_id = dag.states[head.event_id].get(("m.room.power_levels", ""))
    current = {} if event_id is None else dag.events[event_id].content
    users: Any = current.get("users", {})
    content: dict[str, Any] = {**current, "users": {**users}}
    if value % 4 == 0:
        content["events"] = {"m.room.topic": LEVELS[value % len(LEVELS)]}
    elif not (dag.version.privileged_creators and target == ALICE):
        content["users"][target] = LEVELS[value % len(LEVELS)]
    return content


def states_of(dag: Dag, picks: Sequence[int], changes: Sequence[tuple[int, int, int]] = ()) -> list[State]:
    """The states after some events; each change makes one forget an entry, or go back to an older event.

    That is what a server gets to hear that joins by way of a faulty or lying one.
    """
    chosen = list(dag.states.values())
    states = [dict(chosen[-1 - pick % len(chosen)]) for pick in picks]
    for index, entry, older in changes:
        state = states[index % len(states)]
        key = sorted(state)[entry % len(state)]
        past = sorted(
            event.event_id
            for event in dag.events.values()
            if event.is_state and event.key == key and not event.rejected
        )
        if key[0] == "m.room.create":
            continue
        if older % (len(past) + 1) == 0:
            del state[key]
        else:
            state[key] = past[older % (len(past) + 1) - 1]
    return states


def shuffled(states: Sequence[State], seed: int) -> list[State]:
    """The same states, and their entries, in another order."""
    chance = random.Random(seed)
    shuffled = [dict(chance.sample(list(state.items()), len(state))) for state in states]
    chance.shuffle(shuffled)
    return shuffled


def redelivered(dag: Dag, seed: int) -> Dag:
    """The room on a server that gets its events in another order, each after its parents."""
    chance = random.Random(seed)
    other = Dag(dag.version)
    waiting = list(dag.events.values())
    while waiting:
        ready = [event for event in waiting if all(parent in other.events for parent in event.prev_events)]
        event = chance.choice(ready)
        waiting.remove(event)
        if event.type != "m.room.create":
            before = other.state_before(event.prev_events)
            event = attrs.evolve(event, rejected=not other.accepts(event, before))
        other.deliver(event)
    return other


def moves_by_chance(seed: int, count: int) -> list[Move]:
    chance = random.Random(seed)
    return [
        (
            chance.randrange(9),
            chance.randrange(4),
            chance.randrange(4),
            chance.randrange(1000),
            chance.randrange(4),
            chance.randrange(4),
        )
        for _ in range(count)
    ]
