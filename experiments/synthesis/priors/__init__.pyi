from .diffusion import Diffusion, cosine_schedule
from .drawings import drawings_diffusion
from .guidance import Samples, sample
from .penalties import chain, distance, likeness, luminance_and_contrast, total_variation, within
from .pipelines import guide
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
    "sample",
    "total_variation",
    "vary",
    "within",
]
