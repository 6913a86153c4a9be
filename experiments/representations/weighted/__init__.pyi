from .ridge import PairRidge, predict_left_out
from .similarity import (
    FEWEST_WEIGHTED,
    WeightedSimilarity,
    compare_regions,
    compare_weighted,
    encoding_weighted,
    feature_weighted,
    halves,
)

__all__ = [
    "FEWEST_WEIGHTED",
    "PairRidge",
    "WeightedSimilarity",
    "compare_regions",
    "compare_weighted",
    "encoding_weighted",
    "feature_weighted",
    "halves",
    "predict_left_out",
]
