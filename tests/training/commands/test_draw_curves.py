import matplotlib.figure
import pytest

from keras_sda.training.commands.draw_curves import draw_curves


@pytest.mark.parametrize("epochs", [1, 5])
def test_only_whole_epochs_are_marked(epochs, tmp_path, monkeypatch):
    drawn = []
    save = matplotlib.figure.Figure.savefig
    monkeypatch.setattr(
        matplotlib.figure.Figure,
        "savefig",
        lambda self, *args, **options: (
            drawn.append(self) or save(self, *args, **options)
        ),
    )
    rows = [
        {"epoch": n + 1, "loss": 1 / (n + 1), "accuracy": 0.5} for n in range(epochs)
    ]
    draw_curves(rows, tmp_path / "curves.png")
    assert (tmp_path / "curves.png").read_bytes()[:4] == b"\x89PNG"
    for axes in drawn[0].axes:
        low, high = axes.get_xlim()
        assert (low, high) == (0.5, epochs + 0.5)
        ticks = [tick for tick in axes.get_xticks() if low <= tick <= high]
        assert ticks == list(range(1, epochs + 1))
