"""Priors on images: penalties, projections, and diffusion models that guide a synthesis.

A penalty is a function images → values that is subtracted from the objective; a projection is a function images →
images. A diffusion model is a prior in itself: its samples are steered by an objective.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
