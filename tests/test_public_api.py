"""The names that users import, and what each of them says of itself."""

from __future__ import annotations

import inspect

import milepost


def test_all_is_sorted() -> None:
    """`milepost.__all__` is in order, so that a name is found and a diff is one line."""
    assert sorted(milepost.__all__) == list(milepost.__all__)
    assert len(set(milepost.__all__)) == len(milepost.__all__)


def test_all_is_what_there_is() -> None:
    """Each name in `milepost.__all__` can be imported, and no other public name stands beside them."""
    missing = [name for name in milepost.__all__ if not hasattr(milepost, name)]
    modules = {name for name, value in vars(milepost).items() if inspect.ismodule(value)}
    beside = {name for name in vars(milepost) if not name.startswith("_")} - set(milepost.__all__) - modules
    assert not missing
    assert beside <= {"annotations"}


def test_every_name_is_described() -> None:
    """Each public class and function, and each public method of such a class, has a docstring of its own."""
    bare = []
    for name in milepost.__all__:
        value = getattr(milepost, name)
        if not (inspect.isclass(value) or inspect.isfunction(value)):
            continue
        members: dict[str, object] = {name: value}
        if inspect.isclass(value):
            members |= {
                f"{name}.{method}": member
                for method, member in vars(value).items()
                if not method.startswith("_") and (inspect.isfunction(member) or isinstance(member, property))
            }
        bare += [label for label, member in members.items() if not (own_docstring(member) or "").strip()]
    assert not bare


def own_docstring(member: object) -> str | None:
    """The docstring written at the thing itself, not one that it inherited or was given."""
    own = member.__doc__
    # A dataclass without a docstring is given its signature as one.
    return None if inspect.isclass(member) and own and own.startswith(f"{member.__name__}(") else own
