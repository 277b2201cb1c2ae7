import keras
import numpy as np
import pytest

from keras_sda.search import SearchStage
from keras_sda.training import RECIPES, CoupledSGD, SearchOptions, load_image_dataset
from keras_sda.training.options.search_plan import make_search_plan
from keras_sda.training.recipes.fine_tuning_optimizer import (
    fine_tuning_optimizer,
    fine_tuning_rate,
)
from keras_sda.utils import InvalidInputError

RECIPE = RECIPES["digits"]


def test_sgd_is_that_of_the_recipe():
    assert fine_tuning_rate("sgd", RECIPE) == pytest.approx(0.005)
    made = fine_tuning_optimizer("sgd", RECIPE, 0.005, 10, 2)
    assert type(made) is CoupledSGD and made.nesterov
    assert made.coupled_weight_decay == RECIPE.weight_decay
    with pytest.raises(InvalidInputError, match="`optimizer` must be one of sgd, adam"):
        fine_tuning_rate("adam", RECIPE)


def test_adamw_decays_kernels_alone():
    made = fine_tuning_optimizer("adamw", RECIPE, 0.1, 10, 2)
    names = ("kernel", "bias", "gamma", "beta")
    variables = [keras.Variable(np.ones(2, "float32"), name=name) for name in names]
    made.build(variables)
    made.apply([keras.ops.zeros(2) for _ in variables])
    kernel, *others = (np.array(variable) for variable in variables)
    rate = float(made.learning_rate) if made.iterations == 0 else 0.1
    assert (1 - kernel < 0.011 * rate).all() and (kernel < 1).all()
    assert all((value == 1).all() for value in others)


def test_only_the_last_stage_of_a_search_has_it():
    data = load_image_dataset("digits")
    options = SearchOptions(model="a.keras", target_macs=0.5, optimizer="adamw")
    plan = make_search_plan(options, data, 32, False)
    kinds = [type(plan.optimizer(name, 10)).__name__ for name in plan.stages]
    assert kinds == ["CoupledSGD", "CoupledSGD", "AdamW"]
    assert plan.stages["fine_tune"].learning_rate == 1e-3
    whole = plan.stages["weights"]
    assert isinstance(whole, SearchStage)
    assert whole.learning_rate == RECIPES[plan.recipe_name].learning_rate
