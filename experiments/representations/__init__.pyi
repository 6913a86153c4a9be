from .ceiling import NoiseCeiling, noise_ceiling
from .cka import cka_p, linear_cka
from .dissimilarity import dissimilarities, similarities
from .experiment import compare_representations
from .fusion import fuse_over_time
from .given import cosine_dissimilarities, triplet_dissimilarities
from .hierarchy import layer_hierarchy
from .partition import partition_variance
from .searchlight import SearchlightMap, geodesic_neighborhoods, searchlight_significance, searchlights
from .weighted import WeightedSimilarity, compare_weighted, encoding_weighted, feature_weighted

__all__ = [
    "NoiseCeiling",
    "SearchlightMap",
    "WeightedSimilarity",
    "cka_p",
    "compare_representations",
    "compare_weighted",
    "cosine_dissimilarities",
    "dissimilarities",
    "encoding_weighted",
    "feature_weighted",
    "fuse_over_time",
    "geodesic_neighborhoods",
    "layer_hierarchy",
    "linear_cka",
    "noise_ceiling",
    "partition_variance",
    "searchlight_significance",
    "searchlights",
    "similarities",
    "triplet_dissimilarities",
]
