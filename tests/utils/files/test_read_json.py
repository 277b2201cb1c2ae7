import dataclasses
from typing import Any

import pytest

from keras_sda.utils import InvalidInputError
from keras_sda.utils.files.read_json import checked, parse_json, read_json


@dataclasses.dataclass
class Row:
    name: str
    share: float
    sizes: tuple[int, ...] = ()
    note: str | None = None


@pytest.mark.parametrize(
    ("value", "kind", "expected"),
    [
        (3, int, 3),
        (3, float, 3.0),
        (None, int | None, None),
        ([1, 2], tuple[int, ...], (1, 2)),
        ([1, "a"], tuple[int, str], (1, "a")),
        ({"a": [1]}, dict[str, list[int]], {"a": [1]}),
        ({"name": "a", "share": 1}, Row, Row("a", 1.0)),
        ([{"name": "a", "share": 0.5, "sizes": [2]}], list[Row], [Row("a", 0.5, (2,))]),
        ({"anything": []}, Any, {"anything": []}),
    ],
)
def test_values_of_the_right_type_pass(value, kind, expected):
    assert checked(value, kind) == expected


@pytest.mark.parametrize(
    ("value", "kind", "text"),
    [
        (True, int, "must be int, not True"),
        (1, bool, "must be bool, not 1"),
        ("3", float, "must be float, not '3'"),
        (10**400, float, "must be float, not an integer"),
        (3.5, int, "must be int"),
        (None, str, "must be text, not null"),
        ({}, list[int], "must be a list, not an object"),
        ([1, None], tuple[int, ...], r"\[1\] must be int, not null"),
        ([1], tuple[int, int], "must have 2 entries, has 1"),
        ({"a": {"b": "c"}}, dict[str, dict[str, int]], r"a\.b must be int"),
        ([], Row, "must be an object"),
        ({"name": "a"}, Row, "lacks 'share'"),
        ({"name": "a", "share": 1, "more": 2}, Row, "unknown entry 'more'"),
        ({"name": "a", "share": []}, Row, "share must be float, not a list"),
        ([], int | None, "must be int or null"),
    ],
)
def test_values_of_another_type_are_named(value, kind, text):
    with pytest.raises(ValueError, match=text):
        checked(value, kind)


@pytest.mark.parametrize(
    "content",
    [b"", b"{", b"[1,", b"\x00\xff\xfe", b"nul", b"[" * 100_000, b"1" * 10_000, b"[]"],
    ids=["empty", "open", "cut", "noise", "word", "deep", "huge", "another"],
)
def test_damaged_files_are_one_line(content, tmp_path):
    path = tmp_path / "metrics.json"
    path.write_bytes(content)
    with pytest.raises(InvalidInputError, match="`folder`.*Train again") as caught:
        read_json(path, dict[str, float], "Train again.", "folder")
    assert "\n" not in str(caught.value)


def test_folders_and_missing_files_are_one_line(tmp_path):
    for path in (tmp_path, tmp_path / "nowhere.json"):
        with pytest.raises(InvalidInputError, match="cannot be read"):
            read_json(path, dict, "Train again.")


def test_entries_that_need_not_be_there(tmp_path):
    path = tmp_path / "a.json"
    path.write_text('{"accuracy": "high"}')
    assert read_json(path, dict, "", optional={"loss": float}) == {"accuracy": "high"}
    with pytest.raises(InvalidInputError, match="accuracy must be float"):
        read_json(path, dict, "", optional={"accuracy": float})


def test_deep_nesting_is_a_value_error():
    with pytest.raises(ValueError, match="too deeply"):
        parse_json('{"a":' * 100_000)
