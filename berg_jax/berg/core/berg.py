"""The interface under the published package's module path ``berg.core.berg``."""

from ..interface import BERG  # noqa: F401, a name for scripts
