"""Which state of a room a client wants. Spec: MSC4186, "RequiredStateRequest" and "Combining required_state"."""

from collections.abc import Iterable
from typing import Self, TypeAlias

import msgspec

from homeserver.core.event import StateKey

MEMBER = "m.room.member"

Element: TypeAlias = tuple[str | None, str | None]
"""A type and a state key; `None`: any."""


class RequiredState(msgspec.Struct, frozen=True, array_like=True):
    """One rule: what any element of `include` matches, but for what any element of `exclude` matches.

    With `lazy_members`, members are wanted as they are needed; an element matches them only if it names the state key.
    """

    include: tuple[Element, ...] = ()
    exclude: tuple[Element, ...] = ()
    lazy_members: bool = False


class _Elements(msgspec.Struct, frozen=True):
    """Elements by what they leave open."""

    keys: frozenset[StateKey]
    types: frozenset[str]
    state_keys: frozenset[str]
    has_all: bool

    @classmethod
    def of(cls, elements: Iterable[Element]) -> Self:
        keys: set[StateKey] = set()
        types: set[str] = set()
        state_keys: set[str] = set()
        has_all = False
        for kind, state_key in elements:
            if kind is not None and state_key is not None:
                keys.add((kind, state_key))
            elif kind is not None:
                types.add(kind)
            elif state_key is not None:
                state_keys.add(state_key)
            else:
                has_all = True
        return cls(frozenset(keys), frozenset(types), frozenset(state_keys), has_all)

    def matches(self, key: StateKey) -> bool:
        return self.has_all or key in self.keys or key[0] in self.types or key[1] in self.state_keys

    @property
    def is_open(self) -> bool:
        return self.has_all or bool(self.types) or bool(self.state_keys)


class _Rule(msgspec.Struct, frozen=True):
    include: _Elements
    exclude: _Elements
    lazy_members: bool

    def matches(self, key: StateKey) -> bool:
        if self.lazy_members and key[0] == MEMBER:
            wanted = key in self.include.keys or key[1] in self.include.state_keys
        else:
            wanted = self.include.matches(key)
        return wanted and not self.exclude.matches(key)


class StateMatcher(msgspec.Struct, frozen=True):
    """Several rules together: what any of them wants.

    All that can match is one of `keys`, or of the `types`; `types` is `None` if a rule leaves the type open.
    `lazy_members`: members are to be added as they are needed, since not all of them are sent anyway.
    """

    rules: tuple[_Rule, ...]
    keys: frozenset[StateKey]
    types: frozenset[str] | None
    lazy_members: bool

    @classmethod
    def of(cls, rules: Iterable[RequiredState]) -> Self:
        """Compile the rules."""
        compiled = tuple(
            _Rule(_Elements.of(rule.include), _Elements.of(rule.exclude), rule.lazy_members) for rule in rules
        )
        keys = frozenset(key for rule in compiled for key in rule.include.keys if rule.matches(key))
        types: frozenset[str] | None = None
        if not any(rule.include.has_all or rule.include.state_keys for rule in compiled):
            types = frozenset(kind for rule in compiled for kind in rule.include.types)
        all_members = any(
            not rule.lazy_members and (rule.include.has_all or MEMBER in rule.include.types)
            for rule in compiled
            if not rule.exclude.keys and not rule.exclude.is_open
        )
        lazy = any(rule.lazy_members for rule in compiled) and not all_members
        return cls(compiled, keys, types, lazy)

    def matches(self, key: StateKey) -> bool:
        """Whether the state under the key is wanted."""
        return any(rule.matches(key) for rule in self.rules)


def combine(wanted: Iterable[tuple[RequiredState, ...]]) -> tuple[RequiredState, ...]:
    """The rules of several configurations, in an order that depends on nothing but the rules."""
    distinct = {rule for rules in wanted for rule in rules}
    return tuple(sorted(distinct, key=repr))
