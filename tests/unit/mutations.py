"""JSON values with something wrong in them."""

import copy
from collections.abc import Iterator
from typing import Any

from hypothesis import strategies as st

VALUES: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=5,
)

_Place = tuple[str | int, ...]


def _places(value: object, above: _Place = ()) -> Iterator[_Place]:
    """The ways to all that lies inside a value."""
    inside: list[tuple[str | int, object]] = []
    if isinstance(value, dict):
        inside = list(value.items())
    elif isinstance(value, list):
        inside = list(enumerate(value))
    for key, item in inside:
        yield (*above, key)
        yield from _places(item, (*above, key))


@st.composite
def mutations(draw: st.DrawFn, good: Any) -> Any:
    """The value with one to three places changed, left out or renamed."""
    value = copy.deepcopy(good)
    for _ in range(draw(st.integers(1, 3))):
        places = list(_places(value))
        if not places:
            return value
        *above, key = draw(st.sampled_from(places))
        holder = value
        for each in above:
            holder = holder[each]
        how = draw(st.sampled_from(("change", "leave out", "rename")))
        if how == "change":
            holder[key] = draw(VALUES)
        else:
            old = holder.pop(key)
            if how == "rename" and isinstance(holder, dict):
                holder[draw(st.text(max_size=8))] = old
    return value
