from .geodesic import geodesic_neighborhoods
from .maps import Size, searchlights, size_of
from .nearest import neighborhoods, searchable_vertices

__all__ = ["Size", "geodesic_neighborhoods", "neighborhoods", "searchable_vertices", "searchlights", "size_of"]
