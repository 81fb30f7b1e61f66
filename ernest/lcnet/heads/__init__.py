"""Detection and segmentation on the features of a PP-LCNet: networks, training, scores, pictures."""

from ernest.lcnet.heads.boxes import Detections, Objects
from ernest.lcnet.heads.detection import PICODET, Detector, DetectorArchitecture, Predictions
from ernest.lcnet.heads.files import SavedHead, load, save
from ernest.lcnet.heads.pictures import as_input, with_boxes, with_mask
from ernest.lcnet.heads.scores import AveragePrecision, IntersectionOverUnion, average_precision, intersection_over_union
from ernest.lcnet.heads.segmentation import Segmenter, SegmenterArchitecture
from ernest.lcnet.heads.training import Settings, begin_from, train

__all__ = [
    "PICODET",
    "AveragePrecision",
    "Detections",
    "Detector",
    "DetectorArchitecture",
    "IntersectionOverUnion",
    "Objects",
    "Predictions",
    "SavedHead",
    "Segmenter",
    "SegmenterArchitecture",
    "Settings",
    "as_input",
    "average_precision",
    "begin_from",
    "intersection_over_union",
    "load",
    "save",
    "train",
    "with_boxes",
    "with_mask",
]
