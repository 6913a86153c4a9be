from .dissimilarities import dissimilarities_section
from .layers import layers_section
from .measured import measured_regions, measured_section
from .partition import partition_section
from .searchlights import layer_map, searchlights_section
from .similarity import similarity_section
from .study import Part, Study
from .targets import targets_section
from .weighted import weighted_section

__all__ = [
    "Part",
    "Study",
    "dissimilarities_section",
    "layer_map",
    "layers_section",
    "measured_regions",
    "measured_section",
    "partition_section",
    "searchlights_section",
    "similarity_section",
    "targets_section",
    "weighted_section",
]
