from .experiment import fit
from .full import fit_full
from .inputs.features import Features
from .inputs.splits import Split, split_images
from .recipe import Recipe
from .ridge import Readout, fit_readout, mixed_features, predict
from .selectors import fit_selectors
from .tables import VertexTables

__all__ = [
    "Features",
    "Readout",
    "Recipe",
    "Split",
    "VertexTables",
    "fit",
    "fit_full",
    "fit_readout",
    "fit_selectors",
    "mixed_features",
    "predict",
    "split_images",
]
