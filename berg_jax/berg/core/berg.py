"""The interface under the published package's module path ``berg.core.berg``."""

from ..interface import BERG

__all__ = ["BERG"]
