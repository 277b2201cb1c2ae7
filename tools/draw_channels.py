"""Draws the picture of README.md: which channels of a small network go together.

    python tools/draw_channels.py

Builds a residual block, reads its `ChannelGraph`, lets `make_plan` choose channels for
half of the MACs, and writes docs/pictures/channel_units.svg: a row per layer, a square
per channel. Squares of one colour can only go together; crossed ones go; grey ones
must stay.
"""

import pathlib

import keras

from keras_sda.graph import ChannelGraph
from keras_sda.pruning import make_plan

PICTURE = pathlib.Path(__file__).parents[1] / "docs" / "pictures" / "channel_units.svg"
COLOURS = ("#4477aa", "#ee8866", "#44aa77", "#aa4499")
GREY = "#bbbbbb"
SIDE, GAP, LEFT, TOP = 26, 4, 250, 16


def build_model():
    """A stem, a residual block, a convolution, a classifier."""
    keras.utils.set_random_seed(0)
    layers = keras.layers
    inputs = keras.Input((8, 8, 3), name="image")
    stem = layers.Conv2D(8, 3, padding="same", activation="relu", name="stem")(inputs)
    x = layers.Conv2D(6, 3, padding="same", activation="relu", name="conv1")(stem)
    x = layers.Conv2D(8, 3, padding="same", name="conv2")(x)
    x = layers.Add(name="add")([stem, x])
    x = layers.Conv2D(10, 3, padding="same", activation="relu", name="conv3")(x)
    x = layers.GlobalAveragePooling2D(name="mean")(x)
    return keras.Model(inputs, layers.Dense(4, name="classes")(x), name="block")


def rows_of(graph, plan):
    """Yields name, what it is, number of channels, colour and removed positions."""
    colours = {
        name: COLOURS[group.index] for group in graph.groups for name in group.writers
    }
    yield "image", "input: stays", 3, GREY, ()
    texts = {
        "stem": "read by conv1, added by add",
        "conv1": "read by conv2",
        "conv2": "added by add",
        "conv3": "read by classes",
        "classes": "output: stays",
    }
    for name, text in texts.items():
        colour = colours.get(name, GREY)
        yield name, text, plan.channels[name], colour, plan.remove.get(name, ())
        if name == "conv2":
            gone = plan.remove.get(name, ())
            yield "add", "stem + conv2: one stream", 8, colour, gone


def draw(rows):
    """Returns the SVG."""
    lines, y = [], TOP
    for name, text, count, colour, removed in rows:
        lines.append(f'<text x="16" y="{y + 18}" font-weight="bold">{name}</text>')
        lines.append(f'<text x="80" y="{y + 18}" fill="#777777">{text}</text>')
        for position in range(count):
            x = LEFT + 30 + position * (SIDE + GAP)
            opacity = 0.3 if position in removed else 1
            lines.append(
                f'<rect x="{x}" y="{y}" width="{SIDE}" height="{SIDE}" rx="4" '
                f'fill="{colour}" opacity="{opacity}"/>'
            )
            if position in removed:
                lines.append(
                    f'<path d="M{x + 6} {y + 6} l14 14 m0 -14 l-14 14" '
                    f'stroke="#333333" stroke-width="2"/>'
                )
        y += SIDE + 12
    width = LEFT + 30 + 10 * (SIDE + GAP) + 16
    head = (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {y + 4}" '
        f'width="{width}" height="{y + 4}" font-family="sans-serif" font-size="13">'
    )
    ground = f'<rect width="{width}" height="{y + 4}" fill="white"/>'
    return "\n".join([head, ground, *lines, "</svg>", ""])


def main():
    graph = ChannelGraph(build_model())
    plan = make_plan(graph.model, macs=0.5)
    PICTURE.parent.mkdir(exist_ok=True)
    PICTURE.write_text(draw(rows_of(graph, plan)))
    print(f"written {PICTURE.name}")


if __name__ == "__main__":
    main()
