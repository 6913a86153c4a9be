from .tables import VertexTables

__all__ = ["VertexTables"]
