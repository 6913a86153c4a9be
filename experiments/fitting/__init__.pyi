from .experiment import fit
from .inputs.features import Features
from .inputs.splits import Split, split_images
from .ridge import Readout, fit_readout, mixed_features, predict
from .tables import VertexTables

__all__ = [
    "Features",
    "Readout",
    "Split",
    "VertexTables",
    "fit",
    "fit_readout",
    "mixed_features",
    "predict",
    "split_images",
]
