from .algorithms import Algorithm, cma_es, genetic, genetic_sets
from .evolution import evolve
from .sets import evolve_sets, random_sets, set_values
from .stored import ControlResult, SearchResult, area_weights, search, search_control, store_values

__all__ = [
    "Algorithm",
    "ControlResult",
    "SearchResult",
    "area_weights",
    "cma_es",
    "evolve",
    "evolve_sets",
    "genetic",
    "genetic_sets",
    "random_sets",
    "search",
    "search_control",
    "set_values",
    "store_values",
]
