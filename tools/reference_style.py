"""How the reference reads the source: an extension of griffe, named in mkdocs.yml.

The docstrings of this package are Google's with two habits that griffe does not know:
examples stand at the margin below `Example:`, and arguments that share a description
share a line (`height, width: Pixels.`). And a file has the name of its public object.
"""

import re

import griffe

EXAMPLE = re.compile(r"^Example:\n\n((?:(?:>>>|\.\.\.).*\n|.+\n)+)", re.MULTILINE)
SHARED = re.compile(r"^(    )((?:\*{0,2}\w+,\s+)+\*{0,2}\w+)(: .*(?:\n {6,}.*)*)", re.M)


def as_griffe_reads(text):
    """Returns a docstring with fenced examples and one line an argument."""
    text = EXAMPLE.sub(
        lambda found: f"**Example**\n\n```pycon\n{found[1].rstrip()}\n```\n",
        text + "\n",
    )
    return SHARED.sub(
        lambda found: "\n".join(
            f"{found[1]}{name}{found[3]}" for name in re.split(r",\s+", found[2])
        ),
        text,
    ).rstrip("\n")


def show_shadowed(room):
    """Puts back the public names of a room that files of the same name hide.

    After `from keras_sda.pruning.prune import prune`, `keras_sda.pruning.prune` is the
    function; griffe, which does not run the imports, sees the file.
    """
    hidden = {
        name: room.members[name]
        for name in room.exports or ()
        if name in room.members and room.members[name].is_module
    }
    found = {
        name: room.members[name].final_target
        for name in room.exports or ()
        if name not in hidden and room.members[name].is_alias
    }
    for name, file in hidden.items():
        while file.is_module and name in file.members:
            file = file.members[name]
        found[name] = file
    for name, target in found.items():
        room.members[name] = griffe.Alias(name, target, parent=room)


class ReferenceStyle(griffe.Extension):
    """Rewrites every docstring before its sections are read."""

    def on_instance(self, *, obj, **kwargs):
        if obj.docstring is not None:
            obj.docstring.value = as_griffe_reads(obj.docstring.value)

    def on_package(self, *, pkg, **kwargs):
        for room in pkg.modules.values():
            show_shadowed(room)
