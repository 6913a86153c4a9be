"""Editable installs whose finder stands before the path; everything else about the package is in pyproject.toml.

setuptools appends the finder of an editable install to ``sys.meta_path``, behind the finder of ``sys.path``. Python
that starts beside a checkout called ``berg_jax`` would then find the checkout itself, a folder without
``__init__.py``, and import an empty namespace package.
"""

from __future__ import annotations

import base64
import hashlib
import re
import warnings
import zipfile
from pathlib import Path

from setuptools import setup
from setuptools.command.editable_wheel import editable_wheel

_INSTALL = re.compile(rb"import (__editable__\w+finder); \1\.install\(\)\s*")
# What install() has appended goes to the front. One line, as site.py executes them one by one.
_FIRST = (
    b"import sys, %(finder)s; known = len(sys.meta_path); %(finder)s.install(); "
    b"sys.meta_path[:] = sys.meta_path[known:] + sys.meta_path[:known]\n"
)


class EditableFirst(editable_wheel):
    """The editable wheel of setuptools, with one line of its .pth file changed."""

    def run(self) -> None:
        """Build the wheel, and change it."""
        super().run()
        for wheel in Path(self.dist_dir).glob("*.whl"):
            _put_finder_first(wheel)


def _put_finder_first(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        files = {name: archive.read(name) for name in archive.namelist()}
    (pth,) = [name for name in files if name.endswith(".pth")]
    (record,) = [name for name in files if name.endswith(".dist-info/RECORD")]
    found = _INSTALL.fullmatch(files[pth])
    if found is None:  # another version of setuptools, whose finder stays where it is
        warnings.warn(f"The finder of this editable install stands behind the path: {files[pth]!r}", stacklevel=2)
        return
    files[pth] = _FIRST % {b"finder": found[1]}
    digest = base64.urlsafe_b64encode(hashlib.sha256(files[pth]).digest()).rstrip(b"=").decode()
    lines = [
        f"{pth},sha256={digest},{len(files[pth])}" if line.startswith(f"{pth},") else line
        for line in files[record].decode().splitlines()
    ]
    files[record] = ("\n".join(lines) + "\n").encode()
    with zipfile.ZipFile(wheel, "w") as archive:
        for name, data in files.items():
            archive.writestr(name, data)


setup(cmdclass={"editable_wheel": EditableFirst})
