"""Forwards connections: ``forward.py LISTEN CONNECT [COMMAND …]``, each ``tcp:PORT`` (of 127.0.0.1) or ``unix:PATH``.

Prints the port or path once it listens. With a command it brings the loopback up first, as in a network namespace of
its own, and ends with the command, as the command does with it.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import signal
import socket
import struct
import sys

SET_FLAGS, UP = 0x8914, 1  # SIOCSIFFLAGS, IFF_UP


def loopback_up() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asked:
        fcntl.ioctl(asked, SET_FLAGS, struct.pack("16sh22x", b"lo", UP))


async def copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError):
        while data := await reader.read(2**16):
            writer.write(data)
            await writer.drain()
    writer.close()


async def main(listen: str, connect: str, command: list[str]) -> None:
    kind, _, to = connect.partition(":")

    async def forward(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            opened = (
                asyncio.open_connection("127.0.0.1", int(to)) if kind == "tcp" else asyncio.open_unix_connection(to)
            )
            there, back = await opened
        except OSError:
            writer.close()
            return
        await asyncio.gather(copy(reader, back), copy(there, writer))

    place = listen.partition(":")[2]
    if listen.startswith("tcp:"):
        server = await asyncio.start_server(forward, "127.0.0.1", int(place))
        place = server.sockets[0].getsockname()[1]
    else:
        server = await asyncio.start_unix_server(forward, place)
    print(place, flush=True)
    async with server:
        if not command:
            await server.serve_forever()
        loopback_up()
        process = await asyncio.create_subprocess_exec(*command)
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, process.terminate)
        await process.wait()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], sys.argv[2], sys.argv[3:]))
