from .against_ceiling import ceiling_section
from .beside import read_numbers, side_by_side
from .medians import agreement_table, draw, key_numbers, summary, titles_of

__all__ = [
    "agreement_table",
    "ceiling_section",
    "draw",
    "key_numbers",
    "read_numbers",
    "side_by_side",
    "summary",
    "titles_of",
]
