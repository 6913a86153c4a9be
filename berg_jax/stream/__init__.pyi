from .encode import encode_images
from .execution import Execution, Process, find_process
from .images import Images, read_images
from .loop import stream
from .merge import merge_output
from .reducers.averages import read_groups, reduce_images
from .reducers.base import Reducer
from .reducers.glm import GLM
from .reducers.groups import GroupMeans
from .reducers.moments import Covariance, Moments, WeightedSums
from .reducers.probes import ArgmaxOverProbes
from .reducers.regions import RoiMeans, TopK
from .selection import Selection
from .sources.arrays import ArraySource
from .sources.folders import FolderSource, ListSource
from .sources.generated import GeneratedSource
from .sources.image_files import Source
from .sources.open import open_source
from .sources.subset import Subset
from .sources.tars import TarSource
from .store.layout import Columns
from .store.responses import Responses, open_responses
from .store.show import show_text
from .store.status import status_text

__all__ = [
    "GLM",
    "ArgmaxOverProbes",
    "ArraySource",
    "Columns",
    "Covariance",
    "Execution",
    "FolderSource",
    "GeneratedSource",
    "GroupMeans",
    "Images",
    "ListSource",
    "Moments",
    "Process",
    "Reducer",
    "Responses",
    "RoiMeans",
    "Selection",
    "Source",
    "Subset",
    "TarSource",
    "TopK",
    "WeightedSums",
    "encode_images",
    "find_process",
    "merge_output",
    "open_responses",
    "open_source",
    "read_groups",
    "read_images",
    "reduce_images",
    "show_text",
    "status_text",
    "stream",
]
