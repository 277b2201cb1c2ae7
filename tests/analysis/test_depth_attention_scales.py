"""The program applications/depth_attention_scales.py, at its smallest."""

import json

import pytest


def test_program_writes_picture_table_and_numbers(tmp_path, run_python):
    folder = tmp_path / "run"
    result = run_python(
        [
            "applications/depth_attention_scales.py",
            f"--output={folder}",
            "--epochs=1",
            "--train_images=40",
            "--test_images=40",
        ]
    )
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
