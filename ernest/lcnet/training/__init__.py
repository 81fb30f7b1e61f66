"""Training of PP-LCNet: the paper's recipe on a folder of pictures, teachers, two students, exact resume."""

from ernest.lcnet.training.dataset import (
    PictureDataset,
    dataset_from_arrays,
    evaluation_reader,
    evaluation_transform,
    read_dataset,
    training_reader,
)
from ernest.lcnet.training.listing import Listing, read_listing
from ernest.lcnet.training.loop import fit
from ernest.lcnet.training.losses import Pair, distillation, divergence, mutual, supervised
from ernest.lcnet.training.plan import Budget
from ernest.lcnet.training.recipe import Recipe, distillation_recipe, dump, load_recipe, published_recipe
from ernest.lcnet.training.run import TrainingResult, train
from ernest.lcnet.training.scores import Scores, evaluate

__all__ = [
    "Budget",
    "Listing",
    "Pair",
    "PictureDataset",
    "Recipe",
    "Scores",
    "TrainingResult",
    "dataset_from_arrays",
    "distillation",
    "distillation_recipe",
    "divergence",
    "dump",
    "evaluate",
    "evaluation_reader",
    "evaluation_transform",
    "fit",
    "load_recipe",
    "mutual",
    "published_recipe",
    "read_dataset",
    "read_listing",
    "supervised",
    "train",
    "training_reader",
]
