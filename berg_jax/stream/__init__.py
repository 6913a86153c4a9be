"""The loop that carries images through a model and what comes out to disk."""
