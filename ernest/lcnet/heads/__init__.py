"""Detection and segmentation on the features of a PP-LCNet: networks, training, scores, pictures."""

from ernest.lcnet.heads.boxes import Detections, Objects
from ernest.lcnet.heads.detection import PICODET, Detector, DetectorArchitecture, Predictions
from ernest.lcnet.heads.drawing import draw_boxes, draw_mask
from ernest.lcnet.heads.files import HeadCheckpoint, load, save
from ernest.lcnet.heads.scores import AveragePrecision, IntersectionOverUnion, average_precision, intersection_over_union
from ernest.lcnet.heads.segmentation import Segmenter, SegmenterArchitecture
from ernest.lcnet.heads.training import TrainingSettings, load_backbone, train
from ernest.lcnet.image_io.preprocess import normalise_pictures

__all__ = [
    "PICODET",
    "AveragePrecision",
    "Detections",
    "Detector",
    "DetectorArchitecture",
    "HeadCheckpoint",
    "IntersectionOverUnion",
    "Objects",
    "Predictions",
    "Segmenter",
    "SegmenterArchitecture",
    "TrainingSettings",
    "average_precision",
    "draw_boxes",
    "draw_mask",
    "intersection_over_union",
    "load",
    "load_backbone",
    "normalise_pictures",
    "save",
    "train",
]
