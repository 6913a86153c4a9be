from .dinov2_baseline import class_tokens
from .embeddings import cosine_dissimilarities, triplet_dissimilarities
from .files import Given, read_given

__all__ = ["Given", "class_tokens", "cosine_dissimilarities", "read_given", "triplet_dissimilarities"]
