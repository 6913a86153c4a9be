"""Images that are made when they are asked for, on the device, such as noise or gratings."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Key, Num, UInt32

from ...errors import InvalidParameterError, StimulusError
from ...model.images import check_images, check_shape

# Of a key, image numbers and whatever arrays are held.
Generate = Callable[..., Num[Array, "n 3 h w"]]


class GeneratedSource:
    """Images made by a pure function of a key and their numbers.

    The function is compiled once for each batch size and never for an index. Made in batches of one size, as the
    stream does, an image is the same to the bit in whatever batch it comes, as long as the function makes each
    image from its own number alone, such as by ``jax.vmap`` and ``jax.random.fold_in(key, index)``.

    Parameters
    ----------
    generate
        Of a key and image numbers (n,), int32, the images (n, 3, height, width), square, RGB in 0–255, integers or
        floats. Called under ``jax.jit``. If arrays are held, they are its further arguments.
    key
        Of ``jax.random.key``.
    n
        How many images there are.
    name
        What they are called: ``name-0``, ``name-1``, …
    version
        To be raised whenever ``generate`` comes to make other images: with the name, key and number of images it
        tells an earlier run's images from these, since a function has no fingerprint.
    held
        Arrays that stay on the device and that images are made from. (What ``generate`` closed over would be baked
        into its program.)

    Raises
    ------
    InvalidParameterError
        ``n``, the key, the name or the version makes no sense.
    StimulusError
        What ``generate`` makes are no images, by their shape or type.

    Examples
    --------
    >>> def noise(key, indices):
    ...     def one(index):
    ...         return jax.random.uniform(jax.random.fold_in(key, index), (3, 224, 224), maxval=255)
    ...
    ...     return jax.vmap(one)(indices)
    >>> source = GeneratedSource(noise, jax.random.key(0), 10_000, "noise", version=1)
    """

    def __init__(
        self,
        generate: Generate,
        key: Key[Array, ""],
        n: int,
        name: str,
        version: int | str,
        held: Sequence[Num[np.ndarray, ...]] = (),
    ) -> None:
        if isinstance(n, bool) or not isinstance(n, (int, np.integer)) or not 0 < n <= np.iinfo(np.int32).max:
            raise InvalidParameterError(f"n must be a number of images from 1 to 2147483647, got {n!r}.")
        if not (isinstance(key, jax.Array) and jnp.issubdtype(key.dtype, jax.dtypes.prng_key) and key.shape == ()):
            raise InvalidParameterError(f"key must be one key of jax.random.key, got {key!r:.80}.")
        if not isinstance(name, str) or not name or isinstance(version, bool) or not isinstance(version, (int, str)):
            raise InvalidParameterError(f"name and version must say what is made, got {name!r} and {version!r}.")
        digest = hashlib.sha256()
        for array in held:
            digest.update(f"{array.dtype.str} {array.shape}".encode())
            digest.update(np.ascontiguousarray(array))
        self._contents = digest.hexdigest() if held else ""
        self.held = tuple(map(jnp.asarray, held))
        made = jax.eval_shape(generate, key, jax.ShapeDtypeStruct((2,), np.int32), *self.held)
        check_shape(made)
        if made.shape[0] != 2:
            raise StimulusError(f"generate made {made.shape[0]} images of 2 numbers. Make one of each.")
        self.key, self.n, self.name, self.version = key, int(n), name, version
        self.shape, self.dtype = made.shape[1:], made.dtype
        self._make = jax.jit(lambda key, indices, *held: _with_range(generate(key, indices, *held)))

    def __len__(self) -> int:
        return self.n

    @property
    def ids(self) -> list[str]:
        """The name and the number, from 0."""
        return [f"{self.name}-{index}" for index in range(self.n)]

    @property
    def fingerprint(self) -> str:
        """sha256 of the name, version, number, shape and type of the images, the key, and what is held."""
        key: UInt32[np.ndarray, " words"] = np.asarray(jax.random.key_data(self.key))
        facts = (self.name, self.version, self.n, self.shape, self.dtype.name, str(self.key.dtype), key.tolist())
        facts += (self._contents,) if self._contents else ()
        return hashlib.sha256(repr(facts).encode()).hexdigest()

    def read(self, indices: Sequence[int]) -> Num[Array, "n 3 h w"]:
        """The images of these numbers, on the device: only their smallest and largest value come to the host.

        Raises
        ------
        StimulusError
            Values are not in 0–255.
        """
        images, bounds = self._make(self.key, np.asarray(indices, np.int32), *self.held)
        try:
            check_images(np.resize(np.asarray(bounds), (1, 3, 2, 2)))  # an array with these bounds
        except StimulusError as error:
            raise StimulusError(f"{self.name}-{indices[0]} to {self.name}-{indices[-1]}: {error}") from error
        return images


def _with_range(images: Num[Array, "n 3 h w"]) -> tuple[Num[Array, "n 3 h w"], Num[Array, 2]]:
    """The images, and their smallest and largest value, NaN if there is one."""
    return images, jnp.stack([images.min(), images.max()])
