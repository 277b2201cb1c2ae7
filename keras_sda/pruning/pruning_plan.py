"""Which channels and blocks go: a plan that can be read, compared and replayed."""

import dataclasses
import difflib
import json
import os
import re
from collections.abc import Mapping, Sequence
from typing import Any

import keras
import numpy as np

from keras_sda.graph import ChannelGraph, expand_known_blocks
from keras_sda.graph.edit.absent_channels import absent_classes
from keras_sda.pruning.blocks.remove_blocks import with_absent_blocks
from keras_sda.utils import InvalidInputError, atomic_write
from keras_sda.utils.files.read_json import checked, read_json

_FORMAT = "keras_sda pruning plan, version 1"
_LEAST_SHARE = 0.1
# Of the way from the loss before to that of a model which looks at nothing.
_MOST_RISE = 0.5
_EXPECTED = {"macs_before", "macs", "params_before", "params"}


def is_ruined(before: float | None, loss: float | None, chance: float | None) -> bool:
    """Whether a loss is more than half of the way to where nothing is known.

    Args:
        before: The loss before; None where it is not known, as the others.
        loss: The loss now.
        chance: The loss of a model which looks at nothing.
    """
    if before is None or loss is None or chance is None or before >= chance:
        return False
    return (loss - before) / (chance - before) > _MOST_RISE


@dataclasses.dataclass(frozen=True)
class PruningPlan:
    """The channels to remove from one model, layer by layer, and the whole blocks.

    Use `make_plan` to make one, `mask` and `shrink` to carry it out. Saved as JSON it
    gives another run the same model, weight for weight.

    Attributes:
        model: Name of the model.
        channels: For every layer that makes channels, how many it makes. A plan fits
            the models for which these are the same.
        remove: For the layers that lose channels, the positions of these channels.
        settings: How the plan was made.
        expected: Parameters and MACs before and after, and so of every other `Cost`
            that had a target. Where a loss was at hand, what it is on some samples
            before and after the cut alone, and for a model which looks at nothing
            (`"loss_before"`, `"loss"`, `"loss_chance"`).
        blocks: Names of the blocks that go as a whole, before the channels;
            see `removable_blocks`.

    Example:

    >>> import keras
    >>> from keras_sda.pruning import make_plan
    >>> x = keras.Input((8,))
    >>> y = keras.layers.Dense(4, name="hidden")(x)
    >>> model = keras.Model(x, keras.layers.Dense(2, name="predictions")(y))
    >>> plan = make_plan(model, macs=0.5)
    >>> list(plan.remove), len(plan.remove["hidden"])
    (['hidden'], 2)
    """

    model: str
    channels: dict[str, int]
    remove: dict[str, list[int]]
    settings: dict[str, Any] = dataclasses.field(default_factory=dict)
    expected: dict[str, int | float] = dataclasses.field(default_factory=dict)
    blocks: tuple[str, ...] = ()

    @classmethod
    def from_classes(
        cls, graph: ChannelGraph, removed: np.ndarray, **details
    ) -> "PruningPlan":
        """Makes a plan from classes of a channel graph."""
        channels, remove = {}, {}
        absent, _ = absent_classes(graph)
        for name, layer in graph.layers.items():
            if len(layer.made) and name not in absent:
                channels[name] = len(layer.made)
                gone = np.flatnonzero(removed[graph.units.classes[layer.made]])
                if len(gone):
                    remove[name] = gone.tolist()
        return cls(graph.model.name, channels, remove, **details)

    @property
    def warnings(self) -> tuple[str, ...]:
        """What the user should know: what the accuracy may not survive."""
        return (*self.warnings_of_channels, *self._lost())

    @property
    def warnings_of_channels(self) -> tuple[str, ...]:
        """Those that hold as well once the kernels that stay are fitted."""
        return (*self._thin_layers(), *self._below_floor())

    def _thin_layers(self):
        left = {
            name: (self.channels[name] - len(positions), self.channels[name])
            for name, positions in self.remove.items()
        }
        thin = [
            f"{name!r} ({kept} of {count})"
            for name, (kept, count) in left.items()
            if kept < _LEAST_SHARE * count
        ]
        if thin:
            yield (
                f"of these layers less than {_LEAST_SHARE:.0%} of the channels are "
                f"left, which the accuracy may not survive: {_listed(thin)}. Protect "
                "them by `exclude` or `min_channels`, or take scope='layer'"
            )

    def _below_floor(self):
        names = self.settings.get("below_floor")
        if names:
            yield (
                f"the targets cannot be met with floor={self.settings.get('floor')}, "
                f"so these layers keep less: {_listed(map(repr, names))}. Ask for less "
                "to go, or lower `floor`"
            )

    def _lost(self):
        before, loss, chance = (
            self.expected.get(key) for key in ("loss_before", "loss", "loss_chance")
        )
        if is_ruined(before, loss, chance):
            advice = "cut less at a time (`steps`)"
            if self.settings.get("scope") != "loss":
                advice += ", or take scope='loss'"
            yield (
                f"the cut alone takes the loss from {before:.3g} to {loss:.3g}, where "
                f"a model which looks at nothing has {chance:.3g}. Fit what is left "
                f"(reconstruct=True) or fine-tune it, {advice}"
            )

    @classmethod
    def joined(
        cls, plans: Sequence["PruningPlan"], settings: Mapping[str, Any]
    ) -> "PruningPlan":
        """One plan for the first model that does what several do one after another.

        Args:
            plans: Each is for the model that those before it leave.
            settings: What was asked of all of them together, if there are several.
        """
        if len(plans) == 1:
            return plans[0]
        first, last = plans[0], plans[-1]
        below = [n for plan in plans for n in plan.settings.get("below_floor", ())]
        own = {"below_floor": list(dict.fromkeys(below))} if below else {}
        kept = {name: np.arange(count) for name, count in first.channels.items()}
        for plan in plans:
            for name, positions in plan.remove.items():
                kept[name] = np.delete(kept[name], positions)
        remove = {}
        for name, count in first.channels.items():
            gone = np.setdiff1d(np.arange(count), kept[name])
            if len(gone):
                remove[name] = gone.tolist()
        return cls(
            first.model,
            dict(first.channels),
            remove,
            settings={**first.settings, **own, **settings, "steps": len(plans)},
            expected={
                key: (first if key.endswith("_before") else last).expected[key]
                for key in first.expected
                if key in last.expected
            },
            blocks=tuple(name for plan in plans for name in plan.blocks),
        )

    def of_whole(self, whole: ChannelGraph, absent: ChannelGraph) -> "PruningPlan":
        """The same plan for the model with its blocks, made for that without them.

        Args:
            whole: The channels of the model with all its blocks.
            absent: Those of the one without them, which are still counted in
                concatenations; see `graphs_without_blocks`.
        """
        _, gone = absent_classes(absent)
        removed = gone.copy()
        for name, positions in self.remove.items():
            classes = absent.units.classes[absent.layers[name].made]
            removed[classes[~gone[classes]][positions]] = True
        channels = {n: len(x.made) for n, x in whole.layers.items() if len(x.made)}
        found = PruningPlan.from_classes(absent, removed)
        return dataclasses.replace(self, channels=channels, remove=found.remove)

    def applied(
        self, model: keras.Model, graph: ChannelGraph | None = None
    ) -> tuple[ChannelGraph, np.ndarray]:
        """What the plan says of a model: the channels without its blocks, and who goes.

        Args:
            model: The model.
            graph: Its `ChannelGraph`, to save time. Defaults to a new one.

        Returns:
            The channels of the model without the blocks of the plan (of those in
            concatenations they are still there), and the classes of it to remove, as
            `keras_sda.graph.remove_channels` takes them.

        Raises:
            InvalidInputError: The plan is for another model, or would take channels
                apart that belong together.
        """
        if graph is None:
            graph = ChannelGraph(expand_known_blocks(model))
        if self.blocks:
            self._check_fits(graph)
            left = with_absent_blocks(graph.model, self.blocks)
            graph = ChannelGraph(left, graph.input_shape)
        return graph, self.classes(graph)

    def classes(self, graph: ChannelGraph) -> np.ndarray:
        """The classes of a channel graph that the plan removes.

        Args:
            graph: The channels of the model, without the blocks of the plan.

        Raises:
            InvalidInputError: The plan is for another model, or would take channels
                apart that belong together.
        """
        self._check_fits(graph, whole=not self.blocks)
        removed = np.zeros(len(graph.units.pinned), bool)
        for name, positions in self.remove.items():
            if self.blocks and name not in graph.layers:
                continue  # It went with its block.
            made = graph.layers[name].made
            bad = [p for p in positions if not 0 <= p < len(made)]
            if bad:
                raise InvalidInputError(
                    f"`plan` removes channels {bad} of layer {name!r}, which has "
                    f"{len(made)}. Make the plan anew."
                )
            removed[graph.units.classes[made[positions]]] = True
        _, absent = absent_classes(graph)
        removed |= absent  # They went with their blocks, and what they belong to.
        for label in np.flatnonzero(removed & graph.units.pinned):
            layer, reason = graph.units.reasons[int(label)]
            raise InvalidInputError(
                f"`plan` removes channels that cannot be removed: {reason} (layer "
                f"{layer!r}). Make the plan anew."
            )
        gone = removed & ~absent
        whole = PruningPlan.from_classes(graph, gone).remove
        for name, positions in whole.items():
            missing = sorted(set(positions) - set(self.remove.get(name, ())))
            if missing:
                raise InvalidInputError(
                    f"`plan` keeps channels {missing[:8]} of layer {name!r}, which "
                    "belong together with channels that it removes. Make the plan "
                    "anew, or remove these as well."
                )
            if removed[graph.units.classes[graph.layers[name].made]].all():
                raise InvalidInputError(
                    f"`plan` removes all channels of layer {name!r}. Keep at least one."
                )
        if emptied := graph.emptied_by(removed):
            raise InvalidInputError(
                f"`plan` removes all channels that layer {emptied!r} works on. Keep at "
                "least one of them."
            )
        return removed

    def _check_fits(self, graph, whole=True):
        absent, _ = absent_classes(graph)
        channels = {
            name: len(layer.made)
            for name, layer in graph.layers.items()
            if len(layer.made) and name not in absent
        }
        unknown = [name for name in self.channels if name not in channels]
        if unknown and whole:
            similar = difflib.get_close_matches(unknown[0], channels, n=1)
            hint = f" The nearest is {similar[0]!r}." if similar else ""
            raise InvalidInputError(
                f"`plan` was made for model {self.model!r} and names {len(unknown)} "
                f"layers that model {graph.model.name!r} lacks, such as "
                f"{unknown[0]!r}.{hint} Use it with the model that it was made for."
            )
        for name, count in channels.items():
            if self.channels.get(name) != count:
                raise InvalidInputError(
                    f"`plan` was made for model {self.model!r} whose layer {name!r} "
                    f"has {self.channels.get(name, 'no')} channels; in model "
                    f"{graph.model.name!r} it has {count}. Use the plan with the model "
                    "that it was made for."
                )

    def to_json(self) -> str:
        """The plan as text, one line per layer."""
        content = {"format": _FORMAT, **dataclasses.asdict(self)}
        if not self.blocks:
            del content["blocks"]  # Versions before blocks can read it.
        text = json.dumps(content, indent=1, default=str)
        return re.sub(
            r"\[\s+([-\d,\s]+?)\s+\]",
            lambda numbers: "[" + re.sub(r"\s+", " ", numbers[1]) + "]",
            text,
        )

    def save(self, path: str | os.PathLike) -> None:
        """Writes the plan as JSON."""
        with atomic_write(path) as temporary:
            temporary.write_text(self.to_json() + "\n")

    @classmethod
    def load(cls, path: str | os.PathLike) -> "PruningPlan":
        """Reads a plan that `save` wrote.

        Raises:
            FileNotFoundError: There is no such file.
            InvalidInputError: The file cannot be read or is no plan.
        """
        os.stat(path)  # An absent file is Python's own error.
        content = read_json(path, Any, "Make the plan again, with `make_plan`.", "path")
        if not isinstance(content, dict) or content.pop("format", None) != _FORMAT:
            raise InvalidInputError(
                f"`path` {str(path)!r} is no pruning plan of this version: it lacks "
                f"the entry format={_FORMAT!r}."
            )
        try:
            plan = checked(content, cls)
            if plan.expected and not _EXPECTED <= set(plan.expected):
                raise ValueError(f"expected lacks some of {sorted(_EXPECTED)}")
            for name, positions in plan.remove.items():
                if not plan.channels[name] > max(positions) >= min(positions) >= 0:
                    raise ValueError(f"channels of {name!r} that do not exist")
            return plan
        except (ValueError, KeyError) as error:
            raise InvalidInputError(
                f"`path` {str(path)!r} is a damaged pruning plan ({error})."
            ) from error


def _listed(names, most=8):
    names = list(names)
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return f"{', '.join(names[:most])}{more}"
