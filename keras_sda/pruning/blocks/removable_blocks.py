"""Which whole blocks of a residual or densely connected network can go."""

import collections
import dataclasses
import difflib
from collections.abc import Iterable, Sequence
from typing import Any

import keras

from keras_sda.graph import ResidualBranch, expand_known_blocks, residual_branches
from keras_sda.utils import InvalidInputError


@dataclasses.dataclass(frozen=True)
class Block:
    """A block that can go as a whole: its sum or concatenation loses the branch.

    Attributes:
        name: Name of the sum or concatenation, with the names of nested models before
            it; where several terms of it can go, with the name of the last layer of
            this one, such as `"add:conv"`.
        layers: The layers that go with it: what only the branch needs.
        num_params: Parameters of these layers.
    """

    name: str
    layers: tuple[str, ...]
    num_params: int


def removable_blocks(model: keras.Model) -> list[Block]:
    """Lists the blocks that a model can lose as a whole.

    Use it where channels are not what takes the time: a thinner layer is often as slow
    as before, one that is gone is not. A block can go if it is a term of a sum
    (`keras.layers.Add`, `+`) that stands beside its shortcut: another term of the same
    shape that leads back, without weights in between, to what the block is made of.
    Blocks with a projection on their shortcut cannot. Likewise a block can go whose
    output is concatenated with what it is made of, as in DenseNet: then whatever reads
    the concatenation loses the channels of the block.

    Args:
        model: A functional or built sequential model. Nested ones are entered, and a
            nested model that is called twice loses the block in both calls.

    Returns:
        A `Block` each, in the order of execution; none where there are none.

    Raises:
        InvalidInputError: The model has no readable graph.

    Example:

    >>> from keras_sda.applications import SDAResNet20
    >>> from keras_sda.pruning import removable_blocks
    >>> blocks = removable_blocks(SDAResNet20())
    >>> [block.name for block in blocks][:4]
    ['stage1_block1_add', 'stage1_block2_add', 'stage1_block3_add', 'stage2_block2_add']
    >>> blocks[0].layers[:2]
    ('stage1_block1_conv1', 'stage1_block1_bn1')

    Source: Soltani et al. (ICPR 2020) remove whole layers; that blocks of residual
    networks are the ones that can go exactly: Veit et al., arXiv 1605.06431.
    """
    found = find_blocks(expand_known_blocks(model))
    return [block for block, _ in found]


def find_blocks(model: keras.Model) -> list[tuple[Block, ResidualBranch]]:
    """`removable_blocks` with the terms of the sums.

    Args:
        model: A model whose composite layers have been taken apart.
    """
    return _named([x for x in residual_branches(model) if not x.why_not])


def _named(branches):
    sums = collections.Counter((x.path, x.joint.name) for x in branches)
    names: collections.Counter[str] = collections.Counter()
    found = []
    for branch in branches:
        name = branch.path + branch.joint.name
        if sums[branch.path, branch.joint.name] > 1:
            name = f"{name}:{branch.end.name}"
        names[name] += 1
        # One layer may make several terms, or a shared sum be called twice.
        name = name if names[name] == 1 else f"{name}:{names[name]}"
        layers = tuple(branch.path + layer.name for layer in branch.layers)
        variables = {id(v): v for layer in branch.layers for v in layer.weights}
        count = sum(int(keras.ops.size(v)) for v in variables.values())
        found.append((Block(name, layers, count), branch))
    return found


def check_block_count(model: keras.Model, blocks: Any, count: int) -> None:
    """Refuses to take more blocks than a model has.

    Args:
        model: The model.
        blocks: How many are asked for, or `"auto"`.
        count: How many it can lose.

    Raises:
        InvalidInputError: They are fewer.
    """
    if not count or isinstance(blocks, int) and not 0 < blocks <= count:
        raise InvalidInputError(
            f"`blocks` must be at most {count}, the number of blocks that model "
            f"{model.name!r} can lose. Received: blocks={blocks!r}."
        )


def chosen_blocks(
    model: keras.Model, names: Iterable[str]
) -> list[tuple[Block, ResidualBranch]]:
    """The blocks of these names, or an error that says why one cannot go.

    Args:
        model: A model whose composite layers have been taken apart.
        names: Names of blocks.

    Raises:
        InvalidInputError: A name is none of a removable block, or all terms of a sum
            would go.
    """
    known = {block.name: (block, branch) for block, branch in find_blocks(model)}
    names = _full_names([names] if isinstance(names, str) else list(names), known)
    unknown = [name for name in names if name not in known]
    if unknown:
        raise InvalidInputError(_refusal(model, unknown[0], known))
    chosen = [known[name] for name in dict.fromkeys(names)]
    places = collections.Counter(
        (id(branch.model), node.index)
        for _, branch in chosen
        for node, _ in branch.places
    )
    for block, branch in chosen:
        for node, _ in branch.places:
            if places[id(branch.model), node.index] == len(node.inputs):
                kind = "concatenation" if branch.is_joined else "sum"
                raise InvalidInputError(
                    f"`names` holds all terms of the {kind} {branch.path}{node.name}, "
                    f"{block.name!r} among them. Keep at least one."
                )
    return chosen


def _full_names(names, known):
    """The last block of a sum has the name of the sum once the others are gone."""
    full = []
    for name in names:
        left = [x for x in known if x.startswith(f"{name}:") and x not in names]
        full.append(left[0] if name not in known and len(left) == 1 else name)
    return full


def _refusal(model, name, known):
    reasons = []
    for branch in residual_branches(model):
        place = branch.path + branch.joint.name
        is_meant = name in (place, f"{place}:{branch.end.name}")
        if is_meant and branch.why_not:
            reasons.append(f"{branch.end.name!r}: {branch.why_not}")
    several = [other for other in known if other.startswith(f"{name}:")]
    inside = [block.name for block, _ in known.values() if name in block.layers]
    if several:
        why = f"joins several blocks, {_few(several)}"
    elif reasons:
        why = f"cannot go ({'; '.join(reasons[:4])})"
    elif inside:
        why = f"is a layer of the block {inside[-1]!r}, and no block by itself"
    else:
        near = difflib.get_close_matches(str(name), known, n=1)
        why = "is no residual sum or concatenation of the model"
        why += f"; the nearest is {near[0]!r}" if near else ""
    can = f"It can lose {_few(list(known))}." if known else "It has none that can go."
    return f"`names`: {name!r} {why}. Model {model.name!r}: {can}"


def _few(names: Sequence[str], count: int = 12) -> str:
    more = f" and {len(names) - count} more" if len(names) > count else ""
    return ", ".join(repr(name) for name in names[:count]) + more
