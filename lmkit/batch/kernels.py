"""The kernels that execute notebooks: this very Python, reached through sockets that nobody else can open."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from queue import Empty
from typing import Any, cast

from lmkit.batch import servers

ANSWER_SECONDS = 1.0
"""How long a kernel may be silent before it is asked again whether it is there."""

POLL_SECONDS = 0.01


@contextmanager
def kernel_manager(environment: Mapping[str, str], started: list[int] | None = None) -> Iterator[type]:
    """A kernel manager that starts this Python, whatever kernels are registered, with ``environment`` added.

    The process of each kernel is added to ``started``.

    Where the system has Unix sockets, the kernel listens on those, in a private folder that goes when this ends: two
    kernels that start at once cannot take each other's port, and no other user of the machine can read along.
    """
    from jupyter_client.asynchronous.client import AsyncKernelClient
    from jupyter_client.kernelspec import KernelSpecManager
    from jupyter_client.manager import AsyncKernelManager
    from jupyter_client.provisioning.local_provisioner import LocalProvisioner

    class Kernels(KernelSpecManager):
        """Knows no kernel but ipykernel's own, whose Python is ``sys.executable``."""

        def _kernel_dirs_default(self) -> list[str]:
            return []

    class Client(AsyncKernelClient):
        """Is ready once the kernel is, where its base would listen for another fifth of a second."""

        async def wait_for_ready(self, timeout: float | None = None) -> None:
            """Waits for the kernel's first word, on each of the channels on which it tells what it does."""
            until = time.monotonic() + (timeout or float("inf"))
            while time.monotonic() < until:
                self.kernel_info()
                try:
                    reply = await self.shell_channel.get_msg(timeout=ANSWER_SECONDS)
                    await self.iopub_channel.get_msg(timeout=ANSWER_SECONDS)  # what it prints arrives, too
                except Empty:
                    if not await self.is_alive():
                        raise RuntimeError("it died before its first word") from None
                else:
                    self._handle_kernel_info_reply(reply)
                    return
            raise RuntimeError(f"it was silent for {timeout:g} seconds")

    class ThisPython(AsyncKernelManager):
        """Starts it."""

        def _client_factory_default(self) -> type:
            return Client

        def _kernel_spec_manager_default(self) -> KernelSpecManager:
            return Kernels(parent=self)

        def _transport_default(self) -> str:
            return "ipc" if _unix_sockets(Path(folder)) else "tcp"

        def _connection_file_default(self) -> str:
            return str(Path(folder) / "kernel.json")  # the sockets' names begin with this one

        async def _async_start_kernel(self, **arguments: Any) -> None:
            env = {**os.environ, **(arguments.pop("env", None) or {}), **environment}
            await super()._async_start_kernel(env=env, **arguments)
            if started is not None:
                started.append(getattr(self.provisioner, "pid", 0))

        start_kernel = _async_start_kernel

        async def _async_launch_kernel(self, kernel_cmd: list[str], **arguments: Any) -> None:
            forker, provisioner = servers.kernels(), self.provisioner
            module = kernel_cmd[:3] == [sys.executable, "-m", "ipykernel_launcher"]
            forked = forker and module and forker.fork(kernel_cmd[2:], arguments["env"], arguments.get("cwd"))
            if not forked or not isinstance(provisioner, LocalProvisioner):
                await super()._async_launch_kernel(kernel_cmd, **arguments)
                return
            provisioner.process = cast("subprocess.Popen[Any]", forked)  # as much of it as is asked for
            provisioner.pid = provisioner.pgid = forked.pid
            self._reconcile_connection_info(provisioner.connection_info)

        async def _async_wait(self, pollinterval: float = POLL_SECONDS) -> None:
            await super()._async_wait(min(pollinterval, POLL_SECONDS))

    with tempfile.TemporaryDirectory(prefix="lmkit-", ignore_cleanup_errors=True) as folder:
        yield ThisPython


def _unix_sockets(folder: Path) -> bool:
    """Whether sockets can lie in ``folder``: the system has them, and the path is not too long for one."""
    import zmq

    longest = len(str(folder / "kernel-ipc-00").encode())
    return bool(zmq.has("ipc")) and longest <= getattr(zmq, "IPC_PATH_MAX_LEN", 100)
