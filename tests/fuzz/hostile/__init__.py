"""Hostile files, for every target of :mod:`tests.fuzz.targets`.

A case takes the place of the target's file; the folder holds all the others.
"""

from __future__ import annotations

from . import experiments, outputs, published, sources, subjects

CASES = [case for module in (published, sources, outputs, subjects, experiments) for case in module.CASES]
