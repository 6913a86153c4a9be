"""Adapter with which zarr and xarray read an output in an object store through tensorstore."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable
from pathlib import Path

from zarr.abc.store import ByteRequest, OffsetByteRequest, RangeByteRequest, Store, SuffixByteRequest
from zarr.core.buffer import Buffer, BufferPrototype

from .places import Place, Remote, explained


def zarr_store(place: Place) -> Path | Store:
    """Return a path or store that zarr and xarray can open as an output."""
    return place if isinstance(place, Path) else _RemoteStore(place)


class _RemoteStore(Store):
    """Read-only store of the objects of an output, whose errors name the output."""

    supports_writes = supports_deletes = False
    supports_listing = True

    def __init__(self, place: Remote) -> None:
        super().__init__(read_only=True)
        self._place, self._store = place, place.store()

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _RemoteStore) and self._place == other._place

    def __str__(self) -> str:
        return str(self._place)

    async def get(self, key: str, prototype: BufferPrototype, byte_range: ByteRequest | None = None) -> Buffer | None:
        with explained("read", self._place / key):
            found = await self._store.read(key, byte_range=_slice(byte_range))
        return prototype.buffer.from_bytes(found.value) if found.state == "value" else None

    async def get_partial_values(
        self, prototype: BufferPrototype, key_ranges: Iterable[tuple[str, ByteRequest | None]]
    ) -> list[Buffer | None]:
        return [await self.get(key, prototype, byte_range) for key, byte_range in key_ranges]

    async def exists(self, key: str) -> bool:
        with explained("read", self._place / key):
            return (await self._store.read(key, byte_range=slice(0, 0))).state == "value"

    async def list(self) -> AsyncIterator[str]:
        async for key in self.list_prefix(""):
            yield key

    async def list_prefix(self, prefix: str) -> AsyncIterator[str]:
        with explained("read", self._place):
            keys = await self._store.list()
        for key in keys:
            if key.decode().startswith(prefix):
                yield key.decode()

    async def list_dir(self, prefix: str) -> AsyncIterator[str]:
        prefix = f"{prefix.rstrip('/')}/".lstrip("/")
        names = {key.removeprefix(prefix).partition("/")[0] async for key in self.list_prefix(prefix)}
        for name in names:
            yield name

    async def set(self, key: str, value: Buffer) -> None:
        self._check_writable()

    async def delete(self, key: str) -> None:
        self._check_writable()


def _slice(request: ByteRequest | None) -> slice | None:
    match request:
        case RangeByteRequest(start, end):
            return slice(start, end)
        case OffsetByteRequest(offset):
            return slice(offset, None)
        case SuffixByteRequest(suffix):
            return slice(-suffix, None)
    return None
