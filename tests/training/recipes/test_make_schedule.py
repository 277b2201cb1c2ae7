import dataclasses

import numpy as np
import pytest

from keras_sda.training import RECIPES, default_recipe
from keras_sda.training.recipes.make_schedule import make_schedule


def test_published_step_schedule():
    recipe = RECIPES["sda_imagenet"]
    schedule = make_schedule(recipe, recipe.learning_rate, 10, recipe.epochs)
    rates = [
        float(schedule(10 * epoch + step)) for epoch in range(120) for step in (0, 9)
    ]
    values, counts = np.unique(np.round(rates, 7), return_counts=True)
    np.testing.assert_allclose(values, [1e-4, 1e-3, 1e-2, 1e-1], rtol=1e-4)
    assert list(counts // 2) == [29, 30, 30, 31]
    assert (recipe.weight_decay, recipe.decay_exclude) == (1e-4, ())
    assert (recipe.label_smoothing, recipe.batch_size) == (0.1, 256)


def test_warm_up_and_cosine():
    recipe = RECIPES["cifar"]
    schedule = make_schedule(recipe, 0.4, 10, 15)
    rates = [float(schedule(step)) for step in range(151)]
    assert np.argmax(rates) == 10 and rates[10] == pytest.approx(0.4)
    assert 0 < rates[0] < 0.1 and rates[150] == pytest.approx(0, abs=1e-6)
    assert all(a >= b for a, b in zip(rates[10:], rates[11:], strict=False))
    plain = dataclasses.replace(recipe, warmup_epochs=0)
    assert float(make_schedule(plain, 0.4, 10, 15)(0)) == pytest.approx(0.4)


def test_default_recipe():
    assert default_recipe("cifar10:3.0.2", 32) == "cifar"
    assert default_recipe("mnist", 32) == "digits"
    assert default_recipe("imagenet2012", 224) == "sda_imagenet"
    assert default_recipe("some/folder", 224) == "modern"
    assert all(recipe.description for recipe in RECIPES.values())
