"""Data, recipes and the training run itself.

The images and streams of `keras_sda.data`, and `runs.EpochBackup`, are here as well,
the same objects: code from before those rooms finds them.
"""

from keras_sda.data.images.image_arrays import load_image_arrays, save_image_arrays
from keras_sda.data.images.image_dataset import ImageDataset
from keras_sda.data.images.load_image_dataset import load_image_dataset
from keras_sda.data.streams.augmented_batches import AugmentedBatches
from keras_sda.data.streams.evaluation_stream import evaluation_stream
from keras_sda.data.streams.training_stream import training_stream
from keras_sda.runs.epoch_backup import EpochBackup
from keras_sda.training.commands.build_classifier import build_classifier
from keras_sda.training.commands.evaluate_classifier import evaluate_classifier
from keras_sda.training.commands.fine_tune_classifier import (
    fine_tune_classifier,
    measure_accuracy,
)
from keras_sda.training.commands.group_classifier import group_classifier
from keras_sda.training.commands.prune_classifier import prune_classifier
from keras_sda.training.commands.search_classifier import search_classifier
from keras_sda.training.commands.stage_images import StageImages
from keras_sda.training.commands.train_classifier import train_classifier
from keras_sda.training.experiments.measure_depth_by_size import measure_depth_by_size
from keras_sda.training.experiments.repeat_grouping import repeat_grouping
from keras_sda.training.experiments.repeat_search import repeat_search
from keras_sda.training.options.group_options import GroupOptions
from keras_sda.training.options.option_parsing import add_arguments, build, define_flags
from keras_sda.training.options.prune_options import PruneOptions
from keras_sda.training.options.repeat_grouping_options import RepeatGroupingOptions
from keras_sda.training.options.repeat_search_options import RepeatSearchOptions
from keras_sda.training.options.resumed_options import resumed_options
from keras_sda.training.options.search_run_options import SearchOptions
from keras_sda.training.options.train_options import TrainOptions
from keras_sda.training.recipes.coupled_sgd import CoupledSGD
from keras_sda.training.recipes.recipe import Recipe
from keras_sda.training.recipes.recipes import RECIPES, default_recipe
from keras_sda.training.recipes.stage_optimizer import resized_stage, stage_optimizer
from keras_sda.training.strategies.make_strategy import make_strategy

__all__ = [
    "RECIPES",
    "AugmentedBatches",
    "CoupledSGD",
    "EpochBackup",
    "GroupOptions",
    "ImageDataset",
    "PruneOptions",
    "Recipe",
    "RepeatGroupingOptions",
    "RepeatSearchOptions",
    "SearchOptions",
    "StageImages",
    "TrainOptions",
    "add_arguments",
    "build",
    "build_classifier",
    "default_recipe",
    "define_flags",
    "evaluate_classifier",
    "evaluation_stream",
    "fine_tune_classifier",
    "group_classifier",
    "load_image_arrays",
    "load_image_dataset",
    "make_strategy",
    "measure_accuracy",
    "measure_depth_by_size",
    "prune_classifier",
    "repeat_grouping",
    "repeat_search",
    "resized_stage",
    "resumed_options",
    "save_image_arrays",
    "search_classifier",
    "stage_optimizer",
    "train_classifier",
    "training_stream",
]
