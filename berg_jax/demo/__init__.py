"""Synthetic demo subjects with planted answers, and images to show them: all that is needed to try the package.

``berg_dir="demo"`` stands for four synthetic subjects on fsaverage5. Their planted receptive fields and preferences
are in their metadata under ``"planted"``, so that the result of an experiment can be compared with the truth.
"""

from .photographs import photographs
from .stimuli import KINDS, images

__all__ = ["KINDS", "images", "photographs"]
