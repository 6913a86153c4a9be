from . import augmentations, objectives, priors
from .areas import union
from .experiment import synthesize
from .optimize import Result, optimize
from .parametrizations.base import Parametrization
from .parametrizations.fourier import fourier, phases, phases_of
from .parametrizations.pixels import pixels
from .priors.accentuation import accentuate
from .recipe import Recipe
from .search.evolution import evolve
from .search.sets import evolve_sets

__all__ = [
    "Parametrization",
    "Recipe",
    "Result",
    "accentuate",
    "augmentations",
    "evolve",
    "evolve_sets",
    "fourier",
    "objectives",
    "optimize",
    "phases",
    "phases_of",
    "pixels",
    "priors",
    "synthesize",
    "union",
]
