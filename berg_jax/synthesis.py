"""Stimulus synthesis under a short name: ``berg_jax.synthesis`` is :mod:`berg_jax.experiments.synthesis`."""

import sys

from .experiments import synthesis

sys.modules[__name__] = synthesis  # so that both names are one module, however it is imported
