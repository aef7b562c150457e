"""Loopback ports: picked free once, and then kept by whoever picked them."""

import random
import socket
import urllib.request

# Below the range from which Linux takes the local end of outgoing connections: a port kept over a restart must not be
# lent to some client in between.
CANDIDATES = range(20000, 32000)

handed_out: set[int] = set()


def free_port() -> int:
    """Never the same one twice, although nobody listens on the first one yet."""
    while True:
        port = random.choice(CANDIDATES)
        if port not in handed_out and is_free(port):
            handed_out.add(port)
            return port


def is_free(port: int) -> bool:
    with socket.socket() as probe:
        # As servers bind: connections of an earlier server that linger in TIME_WAIT are no obstacle.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
        return True


def accepts(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), timeout=1).close()
    except OSError:
        return False
    return True


def answers(url: str) -> bool:
    """Whether a GET of `url` is answered with 200."""
    try:
        with urllib.request.urlopen(url, timeout=5) as response:
            return response.status == 200
    except OSError:
        return False
