from .algorithms import Algorithm, cma_es, genetic, genetic_sets
from .evolution import evolve, evolve_sets, random_sets
from .stored import search, search_control

__all__ = [
    "Algorithm",
    "cma_es",
    "evolve",
    "evolve_sets",
    "genetic",
    "genetic_sets",
    "random_sets",
    "search",
    "search_control",
]
