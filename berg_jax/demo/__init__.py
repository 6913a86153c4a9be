"""Synthetic subjects with planted answers, and pictures to show them: all that is needed to try the package.

``berg_dir="demo"`` stands for four synthetic subjects on fsaverage5. What is planted in them is written in their
metadata under ``"planted"``, so that an experiment's answer can be compared with the truth.
"""

from .photographs import photographs
from .stimuli import KINDS, images

__all__ = ["KINDS", "images", "photographs"]
