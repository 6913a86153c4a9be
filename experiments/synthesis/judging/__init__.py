"""Evaluation of synthesized images: percentiles among natural images, transfer, robustness, image statistics."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
