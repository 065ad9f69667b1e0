"""The demo's web process: an ASGI application on a socket that the demo has opened already.

The demo opens the port itself, so that nobody can take it between the choice and the start.
Run as `python -m project.demo.web <module:attribute> <file descriptor>`.
"""

import http.client
import socket
import sys
import time
from contextlib import suppress

import uvicorn

HOST = "127.0.0.1"


def open_socket(port: int) -> socket.socket:
    """A listening socket on `port`, or on a free port when that one is taken."""
    for wanted in (port, 0):
        with suppress(OSError):
            return _listening(wanted)
    raise OSError(f"No port of {HOST} can be opened.")


def _listening(port: int) -> socket.socket:
    opened = socket.socket()
    try:
        opened.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        opened.bind((HOST, port))
        opened.listen(128)
    except OSError:
        opened.close()
        raise
    return opened


def status_of(port: int, path: str, timeout: float = 15.0) -> int:
    """The HTTP status of a page; 0 when nobody answered in time."""
    deadline = time.monotonic() + timeout
    while (left := deadline - time.monotonic()) > 0:
        connection = http.client.HTTPConnection(HOST, port, timeout=left)
        try:
            connection.request("GET", path)
            return connection.getresponse().status
        except ConnectionError:
            time.sleep(0.05)
        except OSError:
            return 0
        finally:
            connection.close()
    return 0


def serve(application: str, descriptor: int) -> None:
    """Serve until SIGTERM; open event streams get two seconds to end."""
    config = uvicorn.Config(application, timeout_graceful_shutdown=2)
    uvicorn.Server(config).run(sockets=[socket.socket(fileno=descriptor)])


if __name__ == "__main__":
    serve(sys.argv[1], int(sys.argv[2]))
