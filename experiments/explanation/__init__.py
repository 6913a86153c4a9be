"""Explanations of the model: attribution, metamers, eigendistortions and maximal-difference competition."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
