"""What is checked of a cluster before anything starts there: that it answers, and which lmkit its workers have."""

from __future__ import annotations

import socket
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from lmkit.exceptions import ConfigError, LmkitError, SweepError, shorten
from lmkit.system.cores import available_cores
from lmkit.system.environment import installed_versions
from lmkit.system.optional import install_command

TIMEOUT = 8.0
"""Seconds that a cluster may take to answer."""

VERSION = installed_versions(["lmkit"]).get("lmkit", "unknown")


class Asker(NamedTuple):
    """Who names a cluster.

    Attributes:
        setting: the name of the argument or field.
        error: makes the exception from its message.
    """

    setting: str
    error: Callable[[str], LmkitError]


ENGINE = Asker("engine", SweepError)
"""A sweep."""

LAUNCHER = Asker("training.launcher", lambda message: ConfigError([message]))
"""A run."""


class Machine(NamedTuple):
    """Where a worker runs: the machine's name, the version of lmkit there, the cores that it may use."""

    name: str
    version: str
    cores: int


def describe_machine() -> Machine:
    """Return the machine of the worker that executes this."""
    return Machine(socket.gethostname(), VERSION, available_cores())


def check_address(
    name: str, address: str, hint: str, greeting_timeout: float | None = None, asker: Asker = ENGINE
) -> None:
    """Raise an error where nothing listens at ``[scheme://]HOST:PORT``.

    Args:
        name: the cluster's address as the user typed it.
        address: where to connect to.
        hint: how to start the cluster.
        greeting_timeout: seconds within which the other side must send something first; None: it need not.
        asker: which setting names the cluster.
    """
    host, _, port = address.rpartition("://")[2].rpartition(":")
    if not host or not port.isdigit():
        raise asker.error(f"{asker.setting}: given {shorten(name)}, expected HOST:PORT after '://'; {hint}")
    try:
        with socket.create_connection((host.strip("[]"), int(port)), timeout=TIMEOUT / 2) as connection:
            if greeting_timeout is not None:
                connection.settimeout(greeting_timeout)
                connection.recv(1)
    except (OSError, OverflowError) as error:
        raise no_answer(name, getattr(error, "strerror", None) or error, hint, asker) from None


def no_answer(name: str, reason: Any, hint: str, asker: Asker = ENGINE) -> LmkitError:
    """Return the error of a cluster that does not answer."""
    return asker.error(f"{asker.setting}: {name!r} does not answer ({reason}); {hint}")


def check_versions(name: str, machines: Mapping[str, Machine | BaseException], asker: Asker = ENGINE) -> None:
    """Raise an error for a worker without lmkit, or with another version of it."""
    install = install_command("batch", version=VERSION)
    for worker, machine in machines.items():
        if isinstance(machine, BaseException):
            raise asker.error(
                f"{asker.setting}: the worker {worker} of {name!r} cannot execute lmkit ({type(machine).__name__}: "
                f"{machine}); install it there, and the framework: {install}"
            )
        if machine.version != VERSION:
            raise asker.error(
                f"{asker.setting}: the worker {worker} of {name!r} has lmkit {machine.version}, and this is "
                f"{VERSION}; install the same version on both: {install}"
            )
