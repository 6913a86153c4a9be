"""Sections of the report of representational similarity: one module for each analysis, with its figure and table."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
