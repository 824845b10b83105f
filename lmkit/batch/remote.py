"""Outputs at an address, such as ``s3://bucket/out.ipynb``: written with fsspec, after the execution."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from lmkit.exceptions import TemplateError
from lmkit.system.optional import require

# a Path has lost one of the two slashes; the letter of a Windows drive is no scheme
_ADDRESS = re.compile(r"(?P<scheme>[A-Za-z][A-Za-z0-9+.-]+):/+(?P<rest>.*)")

LOCAL = ("file", "local")
"""Schemes of files on this machine."""

READ_ONLY = ("http", "https", "github", "data")
"""Schemes that fsspec reads and does not write."""


class RemoteOutput:
    """The address of an executed notebook.

    Args:
        url: the address.

    Raises:
        TemplateError: nothing can be written there.
    """

    def __init__(self, url: str) -> None:
        self.url = url
        scheme = url.partition(":")[0]
        if not url.endswith(".ipynb"):
            raise TemplateError(f"output: given {url!r}, expected an address that ends in .ipynb")
        if scheme.lower() in READ_ONLY:
            raise self._cannot_write(f"{scheme} addresses are read only")
        require("fsspec", extra="batch", purpose=f"output: {url!r}", error=TemplateError)
        from fsspec.core import url_to_fs

        try:
            self._filesystem: Any = url_to_fs(url)[0]
        except Exception as error:  # of any of its file systems
            raise self._cannot_write(str(error)) from None

    @property
    def local_path(self) -> Path | None:
        """The file on this machine that the address names; None of any other."""
        is_local = self.url.partition(":")[0] in LOCAL
        return Path(self._filesystem._strip_protocol(self.url)) if is_local else None

    def _cannot_write(self, reason: str) -> TemplateError:
        return TemplateError(f"output: cannot write to {self.url!r}: {reason}; or use a local path")

    def copy(self, notebook: Path, page: Path | None) -> tuple[list[str], str]:
        """Copy a notebook and its page; returns the addresses of the copies, and why one could not be written."""
        copies: list[str] = []
        page_url = f"{self.url.removesuffix('.ipynb')}.html"
        for path, url in ((notebook, self.url), (page, page_url)):
            try:
                if path is not None and path.exists():
                    self._write(url, path.read_bytes())
                    copies.append(url)
            except Exception as error:  # of any file system: a bucket that does not exist, no permission
                return copies, f"cannot write to {url!r}: {error}; it is in {str(path)!r}"
        return copies, ""

    def _write(self, url: str, content: bytes) -> None:
        path = self._filesystem._strip_protocol(url)
        self._filesystem.makedirs(self._filesystem._parent(path), exist_ok=True)
        with self._filesystem.open(path, "wb") as file:
            file.write(content)


def remote_output(output: str | Path | None) -> RemoteOutput | None:
    """Return the address that an output is; None for a local path.

    >>> remote_output("out.ipynb"), remote_output("C:/out.ipynb")
    (None, None)
    """
    match = _ADDRESS.fullmatch(str(output)) if output is not None else None
    if match is None:
        return None
    root = "/" if match["scheme"] in LOCAL else ""  # of a file on this machine the path is absolute
    return RemoteOutput(f"{match['scheme']}://{root}{match['rest']}")
