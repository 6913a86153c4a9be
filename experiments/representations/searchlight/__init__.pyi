from .geodesic import geodesic_neighborhoods
from .maps import Size, searchlights, size_of
from .nearest import neighborhoods, searchable_vertices
from .permutation import ALPHA, Correction, SearchlightMap, check_correction, searchlight_significance

__all__ = [
    "ALPHA",
    "Correction",
    "SearchlightMap",
    "Size",
    "check_correction",
    "geodesic_neighborhoods",
    "neighborhoods",
    "searchable_vertices",
    "searchlight_significance",
    "searchlights",
    "size_of",
]
