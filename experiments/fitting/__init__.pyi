from .full import fit_full
from .recipe import SELECTORS_RECIPE, Recipe
from .selectors import fit_selectors
from .tables import VertexTables

__all__ = ["SELECTORS_RECIPE", "Recipe", "VertexTables", "fit_full", "fit_selectors"]
