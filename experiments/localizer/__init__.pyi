from .contrasts import Design, design_of, preferences
from .experiment import localize, vertex_maps

__all__ = [
    "Design",
    "design_of",
    "localize",
    "preferences",
    "vertex_maps",
]
