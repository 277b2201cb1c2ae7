import pytest

from keras_sda.training import GroupOptions, PruneOptions, SearchOptions
from keras_sda.utils import InvalidInputError

KINDS = {
    "prune": lambda **x: PruneOptions(
        model="a.keras", macs=0.5, dataset="digits", **{"fine_tune_epochs": 1, **x}
    ),
    "group": lambda **x: GroupOptions(model="a.keras", dataset="digits", **x),
    "search": lambda **x: SearchOptions(model="a.keras", target_macs=0.5, **x),
}


@pytest.mark.parametrize("name", KINDS)
def test_all_three_commands_take_them(name):
    make = KINDS[name]
    options = make(distill=0.5, distill_temperature=2.0, optimizer="adamw")
    assert (options.distill, options.optimizer) == (0.5, "adamw")
    assert (make().distill, make().optimizer) == (None, "sgd")
    for given, text in (
        ({"distill": 1.5}, "`distill` must be a share .* distill=1.5"),
        ({"distill": -0.1}, "`distill` must be a share"),
        ({"distill": 0.0, "distill_temperature": 2.0}, "no effect with `distill=0`"),
        ({"distill": 0.5, "distill_temperature": 0.0}, "must be greater than 0"),
        ({"optimizer": "adam"}, "Did you mean 'adamw'"),
        ({"fine_tune_epochs": 0, "distill": 0.5}, "`distill`=0.5 has no effect"),
        ({"fine_tune_epochs": 0, "distill_temperature": 2.0}, "e`=2.0 has no effect"),
        ({"fine_tune_epochs": 0, "optimizer": "adamw"}, "`optimizer`='adamw' has no"),
    ):
        with pytest.raises(InvalidInputError, match=text):
            make(**given)


def test_stages_of_a_grouping():
    GroupOptions(model="a.keras", dataset="digits", scheme="local", local_epochs=1,
                 fine_tune_epochs=0, distill=0.5)  # fmt: skip
    with pytest.raises(InvalidInputError, match="no effect without fine-tuning"):
        GroupOptions(model="a.keras", distill=0.5)
