from .base import Reducer, check_names, check_reducers
from .glm import GLM
from .groups import GroupMeans
from .moments import Covariance, Moments, WeightedSums
from .probes import ArgmaxOverProbes
from .regions import RoiMeans, TopK, roi_weights

__all__ = [
    "GLM",
    "ArgmaxOverProbes",
    "Covariance",
    "GroupMeans",
    "Moments",
    "Reducer",
    "RoiMeans",
    "TopK",
    "WeightedSums",
    "check_names",
    "check_reducers",
    "roi_weights",
]
