"""Read a JSON file that may be damaged, and check what is in it."""

import collections.abc
import dataclasses
import json
import os
import pathlib
import types
import typing
from typing import Any

from keras_sda.utils.invalid_input_error import InvalidInputError

_TOO_LARGE = 1 << 63


def read_json(
    path: str | os.PathLike,
    kind: Any,
    advice: str,
    argument: str = "file",
    optional: dict[str, Any] | None = None,
) -> Any:
    """Returns the contents of a JSON file, every value of the type that is expected.

    Use it for every JSON file that is read. What is wrong with the file is one line.

    Args:
        path: The file.
        kind: The type of the whole, such as `dict[str, float]` or a dataclass (which
            is then made); see `checked`.
        advice: A sentence on what to do about a damaged file.
        argument: What named the file, for the message. Defaults to `"file"`.
        optional: Types of entries of a dictionary that need not be there. Defaults to
            none.

    Raises:
        InvalidInputError: The file cannot be read, is no JSON, or holds something of
            another type.

    Example:

    >>> import pathlib, tempfile
    >>> from keras_sda.utils.files.read_json import read_json
    >>> path = pathlib.Path(tempfile.mkdtemp()) / "metrics.json"
    >>> _ = path.write_text('{"accuracy": 0.5}')
    >>> read_json(path, dict[str, float], "Train again.")
    {'accuracy': 0.5}
    """
    try:
        text = pathlib.Path(path).read_text(encoding="utf-8")
        content = checked(parse_json(text), kind)
        for name, expected in (optional or {}).items():
            if name in content:
                checked(content[name], expected, name)
    except (OSError, ValueError) as error:
        what = "cannot be read" if isinstance(error, OSError) else "is damaged"
        reason = getattr(error, "strerror", None) or error
        raise InvalidInputError(
            f"`{argument}`: {path} {what} ({reason}). {advice}"
        ) from error
    return content


def parse_json(text: str | bytes) -> Any:
    """The value that a JSON text stands for.

    Args:
        text: The text.

    Raises:
        ValueError: It is no JSON, or nested too deeply.
    """
    try:
        return json.loads(text)
    except RecursionError as error:
        raise ValueError("it is nested too deeply") from error


def checked(value: Any, kind: Any, where: str = "") -> Any:
    """Returns a value as the type that a hint asks for.

    Args:
        value: What JSON gave.
        kind: A class, a union, `list[...]`, `tuple[..., ...]`, `dict[str, ...]`,
            `Mapping[...]`, `Any` or a dataclass. Dataclasses are made of dictionaries
            with all of their fields that have no default; tuples of lists; floats of
            integers.
        where: Name of the value, for the message. Defaults to that of the whole.

    Raises:
        ValueError: It is of another type.

    Example:

    >>> from keras_sda.utils.files.read_json import checked
    >>> checked([1, 2], tuple[float, ...])
    (1.0, 2.0)
    """
    origin, inside = typing.get_origin(kind), typing.get_args(kind)
    if kind is Any:
        return value
    if origin in (typing.Union, types.UnionType):
        for option in inside:
            try:
                return checked(value, option, where)
            except ValueError as error:
                reason = error
        names = " or ".join(_name(option) for option in inside)
        raise _wrong(value, names, where) from reason
    if dataclasses.is_dataclass(kind):
        return _dataclass(value, kind, where)
    origin = origin or kind
    if origin in (dict, collections.abc.Mapping):
        _require(value, dict, where)
        of = inside[1] if inside else Any
        return {k: checked(v, of, _inner(where, k)) for k, v in value.items()}
    if origin in (list, tuple, collections.abc.Sequence):
        _require(value, list, where)
        kinds = _kinds_of(value, origin, inside, where)
        items = [
            checked(item, of, f"{where}[{number}]")
            for number, (item, of) in enumerate(zip(value, kinds, strict=True))
        ]
        return tuple(items) if origin is tuple else items
    if kind is float and type(value) is int:
        try:
            return float(value)
        except OverflowError as error:
            raise _wrong(value, "float", where) from error
    _require(value, type(None) if kind is None else kind, where)
    return value


def _kinds_of(value, origin, inside, where):
    if not inside:
        return [Any] * len(value)
    if origin is tuple and inside[-1] is not Ellipsis:
        if len(value) != len(inside):
            raise ValueError(
                f"{where or 'the whole'} must have {len(inside)} entries, has "
                f"{len(value)}"
            )
        return inside
    return [inside[0]] * len(value)


def _dataclass(value, kind, where):
    _require(value, dict, where)
    hints = typing.get_type_hints(kind)
    fields = {field.name: field for field in dataclasses.fields(kind) if field.init}
    unknown = sorted(set(value) - set(fields))
    missing = sorted(
        name
        for name, field in fields.items()
        if name not in value
        and field.default is dataclasses.MISSING
        and field.default_factory is dataclasses.MISSING
    )
    if unknown or missing:
        what = [f"lacks {name!r}" for name in missing]
        what += [f"has the unknown entry {name!r:.60}" for name in unknown]
        raise ValueError(f"{where or 'the whole'} {', '.join(what[:3])}")
    return kind(**{k: checked(v, hints[k], _inner(where, k)) for k, v in value.items()})


def _require(value, kind, where):
    # True is an integer for Python, but not a count.
    if not isinstance(value, kind) or (type(value) is bool and kind is not bool):
        raise _wrong(value, _name(kind), where)
    if type(value) is int and abs(value) >= _TOO_LARGE:
        raise _wrong(value, "an integer of at most 64 bits", where)


def _wrong(value, name, where):
    return ValueError(f"{where or 'the whole'} must be {name}, not {_shown(value)}")


def _shown(value):
    if isinstance(value, (dict, list)):
        return "an object" if isinstance(value, dict) else "a list"
    if isinstance(value, int) and not isinstance(value, bool):
        return "an integer" if abs(value) >= 10**20 else str(value)
    return "null" if value is None else f"{value!r:.40}"


def _name(kind):
    names = {dict: "an object", list: "a list", type(None): "null", str: "text"}
    return names.get(kind, getattr(kind, "__name__", str(kind)))


def _inner(where, key):
    return f"{where}.{key:.40}" if where else f"{key:.40}"
