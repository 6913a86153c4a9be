from .dissimilarity import dissimilarities, searchlights, similarities
from .experiment import compare_representations

__all__ = [
    "compare_representations",
    "dissimilarities",
    "searchlights",
    "similarities",
]
