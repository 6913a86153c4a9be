from .devices import Process, find_process
from .encode import choose_images, encode_images
from .loop import stream
from .merge import merge_output
from .reducers.base import Reducer
from .reducers.glm import GLM
from .reducers.groups import GroupMeans
from .reducers.moments import Covariance, Moments, WeightedSums
from .reducers.probes import ArgmaxOverProbes
from .reducers.regions import RoiMeans, TopK
from .sources.arrays import ArraySource, Subset
from .sources.generated import GeneratedSource
from .sources.image_files import FolderSource, ListSource, Source
from .sources.open import open_source
from .sources.tars import TarSource
from .store.output import Columns
from .store.responses import Responses, open_responses
from .store.status import status_text

__all__ = [
    "GLM",
    "ArgmaxOverProbes",
    "ArraySource",
    "Columns",
    "Covariance",
    "FolderSource",
    "GeneratedSource",
    "GroupMeans",
    "ListSource",
    "Moments",
    "Process",
    "Reducer",
    "Responses",
    "RoiMeans",
    "Source",
    "Subset",
    "TarSource",
    "TopK",
    "WeightedSums",
    "choose_images",
    "encode_images",
    "find_process",
    "merge_output",
    "open_responses",
    "open_source",
    "status_text",
    "stream",
]
