"""Rows of results are written at once or not at all."""

import pytest

from keras_sda.utils.files.csv_rows import read_rows, write_rows


def test_rows_and_their_columns(tmp_path):
    path = tmp_path / "results" / "rows.csv"
    assert read_rows(path) == []
    write_rows([{"rate": 0.5}, {"rate": 0.7, "note": 'a, "b"\nc'}], path)
    assert read_rows(path) == [
        {"rate": "0.5", "note": ""},
        {"rate": "0.7", "note": 'a, "b"\nc'},
    ]
    before = path.read_bytes()
    with pytest.raises(ValueError, match="extra"):
        write_rows([{"rate": 1, "extra": 2}, {"rate": 3}], path)
    assert path.read_bytes() == before
    assert [x.name for x in path.parent.iterdir()] == ["rows.csv"]
