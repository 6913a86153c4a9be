"""Accuracy of the model: predicted against measured responses, and against single trials."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
