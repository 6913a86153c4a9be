from .dissimilarities import dissimilarities_section
from .layers import layers_section
from .measured import measured_regions, measured_section
from .partition import partition_section
from .searchlights import LAYER, Searched, check_names, layer_map, scale_of, searchlights_section
from .similarity import similarity_section
from .study import Part, Study
from .targets import targets_section
from .weighted import weighted_section

__all__ = [
    "LAYER",
    "Part",
    "Searched",
    "Study",
    "check_names",
    "dissimilarities_section",
    "layer_map",
    "layers_section",
    "measured_regions",
    "measured_section",
    "partition_section",
    "scale_of",
    "searchlights_section",
    "similarity_section",
    "targets_section",
    "weighted_section",
]
