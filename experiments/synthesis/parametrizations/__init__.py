"""Parametrizations of images: pixels, Fourier coefficients, phases alone, or the latents of a generator."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
