from .berg_dir import SubjectFiles, available_subjects
from .card import MODEL_ID, card_text, read_card
from .metadata import Metadata, find_metadata, noise_ceiling, roi_table

__all__ = [
    "MODEL_ID",
    "Metadata",
    "SubjectFiles",
    "available_subjects",
    "card_text",
    "find_metadata",
    "noise_ceiling",
    "read_card",
    "roi_table",
]
