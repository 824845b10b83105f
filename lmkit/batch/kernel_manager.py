"""The Jupyter classes that start and reach the kernels of ``kernels.kernel_manager``."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from queue import Empty
from typing import Any, ClassVar, cast

from jupyter_client.asynchronous.client import AsyncKernelClient
from jupyter_client.channels import AsyncZMQSocketChannel
from jupyter_client.kernelspec import KernelSpecManager
from jupyter_client.manager import AsyncKernelManager
from jupyter_client.provisioning.local_provisioner import LocalProvisioner
from traitlets import Type

from lmkit.batch import warm_servers

REPLY_TIMEOUT = 1.0
"""Seconds after which a silent kernel is asked again."""

POLL_SECONDS = 0.01


class CurrentPythonSpec(KernelSpecManager):
    """Finds only ipykernel's own kernel, whose Python is ``sys.executable``."""

    def _kernel_dirs_default(self) -> list[str]:
        return []


class ShellChannel(AsyncZMQSocketChannel):
    """Finds a reply even if its wake-up is lost.

    nbclient answers widgets by sending on this channel's socket past its event loop. ZeroMQ signals only changes of
    state, and such a send takes the signal of a reply that arrives meanwhile; a wait without a limit never ends.
    """

    async def get_msg(self, timeout: float | None = None) -> dict[str, Any]:  # type: ignore[override]  # as its base
        """Return the next message, looking for it anew at least each second."""
        deadline = float("inf") if timeout is None else time.monotonic() + timeout
        while True:
            seconds = min(REPLY_TIMEOUT, max(0.0, deadline - time.monotonic()))
            try:
                return await super().get_msg(timeout=seconds)
            except Empty:
                if time.monotonic() >= deadline:
                    raise


class Client(AsyncKernelClient):
    """Is ready as soon as the kernel is; its base class would listen for another fifth of a second."""

    shell_channel_class = Type(ShellChannel)

    async def wait_for_ready(self, timeout: float | None = None) -> None:
        """Wait for the kernel's first message on each of its channels."""
        deadline = time.monotonic() + (timeout or float("inf"))
        while time.monotonic() < deadline:
            self.kernel_info()
            try:
                reply = await self.shell_channel.get_msg(timeout=REPLY_TIMEOUT)
                await self.iopub_channel.get_msg(timeout=REPLY_TIMEOUT)  # its printed output arrives as well
            except Empty:
                if not await self.is_alive():
                    raise RuntimeError("it died before its first message") from None
            else:
                self._handle_kernel_info_reply(reply)
                return
        raise RuntimeError(f"it sent no message for {timeout:g} seconds")


class CurrentPythonManager(AsyncKernelManager):
    """Starts the kernel; subclasses set the attributes.

    Attributes:
        folder: the private folder of the kernel's sockets and its connection file.
        environment: variables of the kernel, in addition to those of this process.
        pids: the process id of each kernel is appended to it, of one that runs on this machine.
    """

    folder: ClassVar[Path]
    environment: ClassVar[Mapping[str, str]]
    pids: ClassVar[list[int]]

    def _client_factory_default(self) -> type:
        return Client

    def _kernel_spec_manager_default(self) -> KernelSpecManager:
        return CurrentPythonSpec(parent=self)

    def _transport_default(self) -> str:
        return "ipc" if supports_unix_sockets(self.folder) else "tcp"

    def _connection_file_default(self) -> str:
        return str(self.folder / "kernel.json")  # the names of the sockets derive from this one

    async def _async_start_kernel(self, **arguments: Any) -> None:
        env = {**os.environ, **(arguments.pop("env", None) or {}), **self.environment}
        await super()._async_start_kernel(env=env, **arguments)
        if pid := getattr(self.provisioner, "pid", None):  # a kernel elsewhere has none here
            self.pids.append(pid)

    start_kernel = _async_start_kernel

    async def _async_launch_kernel(self, kernel_cmd: list[str], **arguments: Any) -> None:
        server, provisioner = warm_servers.kernel_server(), self.provisioner
        is_ipykernel = kernel_cmd[:3] == [sys.executable, "-m", "ipykernel_launcher"]
        kernel = server and is_ipykernel and server.fork(kernel_cmd[2:], arguments["env"], arguments.get("cwd"))
        if not kernel or not isinstance(provisioner, LocalProvisioner):
            await super()._async_launch_kernel(kernel_cmd, **arguments)
            return
        provisioner.process = cast("subprocess.Popen[Any]", kernel)  # it has the methods that are used
        provisioner.pid = provisioner.pgid = kernel.pid
        self._reconcile_connection_info(provisioner.connection_info)

    async def _async_wait(self, pollinterval: float = POLL_SECONDS) -> None:
        await super()._async_wait(min(pollinterval, POLL_SECONDS))


class RegisteredManager(CurrentPythonManager):
    """Starts a kernel that is registered with Jupyter."""

    def _kernel_spec_manager_default(self) -> KernelSpecManager:
        return KernelSpecManager(parent=self)


def supports_unix_sockets(folder: Path) -> bool:
    """Whether the system has Unix sockets, and ``folder`` a path that is short enough for them."""
    import zmq

    longest = len(str(folder / "kernel-ipc-00").encode())
    return bool(zmq.has("ipc")) and longest <= getattr(zmq, "IPC_PATH_MAX_LEN", 100)
