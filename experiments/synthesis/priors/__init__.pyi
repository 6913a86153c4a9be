from .accentuation import accentuate
from .diffusion import Diffusion, cosine_schedule
from .drawings import drawings_diffusion
from .features import class_token, feature_distance, network_tokens
from .guidance import Samples, sample
from .penalties import chain, distance, likeness, luminance_and_contrast, total_variation, within
from .pipelines import guide
from .strip import make_variations
from .variation import Variations, vary

__all__ = [
    "Diffusion",
    "Samples",
    "Variations",
    "accentuate",
    "chain",
    "class_token",
    "cosine_schedule",
    "distance",
    "drawings_diffusion",
    "feature_distance",
    "guide",
    "likeness",
    "luminance_and_contrast",
    "make_variations",
    "network_tokens",
    "sample",
    "total_variation",
    "vary",
    "within",
]
