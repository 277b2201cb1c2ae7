"""Turns an options dataclass into argparse arguments or absl flags, and back."""

import argparse
import dataclasses
import types
import typing
from collections.abc import Collection
from typing import Any

from keras_sda.training.options.checked_options import choices_of
from keras_sda.utils import InvalidInputError


def add_arguments(
    parser: argparse.ArgumentParser,
    options_class: type,
    typed_only: bool = False,
    leave_out: Collection[str] = (),
) -> None:
    """Adds one `--name` argument for every field of an options dataclass.

    Use it in a command line so that an option is declared once, in the dataclass:
    its name, default, choices and help text. Boolean fields become
    `--name` / `--no-name`. The choices themselves are checked by the dataclass, whose
    message can suggest the nearest name.

    Args:
        parser: The parser (or argument group) to extend.
        options_class: A dataclass whose fields carry `metadata={"help": ...}`.
        typed_only: Whether what was not typed stays away from what the parser gives:
            `--resume` takes it from the run itself. Defaults to `False`.
        leave_out: Names of fields that get no argument. Defaults to none.

    Example:

    >>> import argparse
    >>> from keras_sda.training import TrainOptions
    >>> parser = argparse.ArgumentParser()
    >>> add_arguments(parser, TrainOptions)
    >>> build(TrainOptions, parser.parse_args(["--epochs", "3"])).epochs
    3
    """
    for field, kind in _fields(options_class):
        if field.name in leave_out:
            continue
        default = argparse.SUPPRESS if typed_only else field.default
        settings: dict[str, Any] = {
            "default": default,
            "help": _help(field).replace("%", "%%"),
        }
        if kind is bool:
            settings["action"] = argparse.BooleanOptionalAction
        else:
            settings.update(type=kind, metavar=_metavar(field, kind))
        parser.add_argument(f"--{field.name}", **settings)


def define_flags(options_class: type, flag_values: Any = None) -> list[str]:
    """Defines one absl flag for every field of an options dataclass.

    Use it in an absl program; boolean fields become `--name` / `--noname`.

    Args:
        options_class: A dataclass whose fields carry `metadata={"help": ...}`.
        flag_values: `absl.flags.FlagValues` to define them in. Defaults to
            `absl.flags.FLAGS`.

    Returns:
        The names of the flags.

    Example:

    >>> from absl import flags
    >>> from keras_sda.training import TrainOptions
    >>> values = flags.FlagValues()
    >>> names = define_flags(TrainOptions, values)
    >>> _ = values(["program", "--epochs=3", "--nodownload"])
    >>> build(TrainOptions, values).epochs
    3
    """
    from absl import flags

    flags.disclaim_key_flags()  # they are the caller's, and in its --help
    flag_values = flags.FLAGS if flag_values is None else flag_values
    define = {
        bool: flags.DEFINE_bool,
        int: flags.DEFINE_integer,
        float: flags.DEFINE_float,
        str: flags.DEFINE_string,
    }
    names = []
    for field, kind in _fields(options_class):
        define[kind](field.name, field.default, _help(field), flag_values=flag_values)
        names.append(field.name)
    return names


def build(options_class: type, values: object) -> object:
    """Makes the options from parsed values.

    Args:
        options_class: The dataclass given to `add_arguments` or `define_flags`.
        values: The `argparse.Namespace`, the absl `FlagValues`, or a mapping. A
            mapping may leave out fields; they keep their defaults.

    Returns:
        An `options_class`, whose own validation has passed.

    Raises:
        InvalidInputError: A mapping holds a name that is not an option.

    Example:

    >>> from keras_sda.training import TrainOptions
    >>> build(TrainOptions, {"epochs": 2, "seed": 5}).seed
    5
    """
    names = [field.name for field in dataclasses.fields(options_class)]
    if isinstance(values, typing.Mapping):
        unknown = sorted(set(values) - set(names))
        if unknown:
            raise InvalidInputError(
                f"Unknown option(s) {unknown}. Expected names from: {', '.join(names)}."
            )
        return options_class(**values)
    return options_class(**{name: getattr(values, name) for name in names})


def _fields(options_class):
    hints = typing.get_type_hints(options_class)
    fields = {field.name: field for field in dataclasses.fields(options_class)}
    # What a command adds comes before what it shares with the others.
    own = options_class.__dict__.get("__annotations__", {})
    for name in dict.fromkeys([name for name in own if name in fields] + [*fields]):
        field, kind = fields[name], hints[name]
        if isinstance(kind, types.UnionType):
            kind = next(part for part in kind.__args__ if part is not type(None))
        yield field, kind


def _help(field) -> str:
    text = field.metadata["help"]
    choices = choices_of(field)
    if choices:
        text += f" One of: {', '.join(map(str, choices))}."
    if field.default not in (None, "") and not isinstance(field.default, bool):
        text += f" Default: {field.default}."
    return text


def _metavar(field, kind) -> str:
    return {int: "N", float: "X", str: "NAME"}[kind]
