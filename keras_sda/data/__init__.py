"""Images and batches: read, split, augmented, streamed."""

from keras_sda.data.images.image_arrays import load_image_arrays, save_image_arrays
from keras_sda.data.images.image_dataset import ImageDataset
from keras_sda.data.images.load_image_dataset import load_image_dataset
from keras_sda.data.streams.augmentation import Augmentation
from keras_sda.data.streams.augmented_batches import AugmentedBatches
from keras_sda.data.streams.evaluation_stream import evaluation_stream
from keras_sda.data.streams.training_stream import training_stream

__all__ = [
    "Augmentation",
    "AugmentedBatches",
    "ImageDataset",
    "evaluation_stream",
    "load_image_arrays",
    "load_image_dataset",
    "save_image_arrays",
    "training_stream",
]
