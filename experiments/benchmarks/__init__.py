"""Benchmarks: speed and memory beside PyTorch, the cost of the stream and of lower precisions."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
