from . import augmentations, objectives, priors
from .areas import union
from .experiment import synthesize
from .optimize import Result, optimize
from .parametrizations.fourier import Parametrization, fourier, phases, pixels
from .recipe import Recipe
from .search.evolution import evolve, evolve_sets

__all__ = [
    "Parametrization",
    "Recipe",
    "Result",
    "augmentations",
    "evolve",
    "evolve_sets",
    "fourier",
    "objectives",
    "optimize",
    "phases",
    "pixels",
    "priors",
    "synthesize",
    "union",
]
