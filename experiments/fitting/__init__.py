"""Fitting the model to a new subject: readout, selectors and the full network, from images and responses."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
