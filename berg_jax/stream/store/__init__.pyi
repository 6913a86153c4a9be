from .layout import Columns
from .output import is_complete
from .responses import Responses, open_responses
from .status import status_text

__all__ = [
    "Columns",
    "Responses",
    "is_complete",
    "open_responses",
    "status_text",
]
