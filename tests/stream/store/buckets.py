"""What an object store holds."""

from __future__ import annotations

from berg_jax.stream.store.places import find_place

BUCKET = "lab"


def keys(url: str) -> dict[str, bytes]:
    """Every object of an output."""
    store = find_place(url).store()
    return {key.decode(): store.read(key).result().value for key in store.list().result()}
