"""Training of PP-LCNet: the paper's recipe on a folder of pictures, teachers, two students, exact resume."""

from ernest.lcnet.training.listing import Listing, read_listing
from ernest.lcnet.training.loop import fit
from ernest.lcnet.training.losses import Pair, distillation, divergence, mutual, supervised
from ernest.lcnet.training.pictures import Pictures, as_seen, hold, read_pictures
from ernest.lcnet.training.recipe import Recipe, distilled, dump, load_recipe, published
from ernest.lcnet.training.run import Outcome, train
from ernest.lcnet.training.scores import Scores, evaluate

__all__ = [
    "Listing",
    "Outcome",
    "Pair",
    "Pictures",
    "Recipe",
    "Scores",
    "as_seen",
    "distillation",
    "distilled",
    "divergence",
    "dump",
    "evaluate",
    "fit",
    "hold",
    "load_recipe",
    "mutual",
    "published",
    "read_listing",
    "read_pictures",
    "supervised",
    "train",
]
