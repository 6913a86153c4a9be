from .diffusion import Diffusion, cosine_schedule
from .drawings import drawings_diffusion
from .guidance import Samples, sample
from .penalties import chain, distance, likeness, luminance_and_contrast, total_variation, within
from .pipelines import guide
from .strip import make_variations
from .variation import Variations, vary

__all__ = [
    "Diffusion",
    "Samples",
    "Variations",
    "chain",
    "cosine_schedule",
    "distance",
    "drawings_diffusion",
    "guide",
    "likeness",
    "luminance_and_contrast",
    "make_variations",
    "sample",
    "total_variation",
    "vary",
    "within",
]
