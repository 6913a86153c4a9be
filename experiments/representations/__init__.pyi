from .cka import cka_p, linear_cka
from .dissimilarity import dissimilarities, searchlights, similarities
from .experiment import compare_representations
from .fusion import fuse_over_time
from .geodesic import geodesic_neighborhoods
from .hierarchy import layer_hierarchy
from .partition import partition_variance

__all__ = [
    "cka_p",
    "compare_representations",
    "dissimilarities",
    "fuse_over_time",
    "geodesic_neighborhoods",
    "layer_hierarchy",
    "linear_cka",
    "partition_variance",
    "searchlights",
    "similarities",
]
