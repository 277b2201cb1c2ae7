"""The program applications/depth_attention_scales.py, at its smallest."""

import functools
import json

import pytest

from keras_sda import applications


@pytest.mark.parametrize(
    "num_blocks", [[2, 2, 2], pytest.param(None, marks=pytest.mark.large)]
)
def test_program_writes_picture_table_and_numbers(
    num_blocks, tmp_path, run_program, monkeypatch
):
    """With narrow stages of two blocks, and with its own network."""
    if num_blocks:
        options = {"base_width": 8, "stem_width": 8, "min_width": 4}
        small = functools.partial(applications.SDAResNet, num_blocks, **options)
        monkeypatch.setattr(applications, "SDAResNet20", small)
    folder = tmp_path / "run"
    result = run_program(
        "applications/depth_attention_scales.py",
        f"--output={folder}",
        "--epochs=1",
        "--train_images=40",
        "--test_images=40",
    )
    assert result.returncode == 0, result.stderr
    assert "shift of the mean depth from 8 to 48 pixels" in result.stdout
    assert sorted(path.name for path in folder.iterdir()) == [
        "depth_attention_by_scale.csv",
        "depth_attention_by_scale.json",
        "depth_attention_by_scale.png",
        "model.keras",
    ]
    numbers = json.loads((folder / "depth_attention_by_scale.json").read_text())
    (run,) = numbers["runs"]
    for when in ("before", "after"):
        for stage in ("stage1_sda", "stage2_sda", "stage3_sda"):
            row = run[when][stage]
            by_size = row["depth_by_size"]
            assert all(0 <= depth <= 1 for depth in by_size.values())
            assert row["shift"] == pytest.approx(by_size["48"] - by_size["8"])
            assert row["standard_error"] > 0
    assert run["before"] != run["after"]
