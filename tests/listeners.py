"""Which addresses the processes of a local cluster listen on, for as long as somebody looks."""

import json
import os
import threading
from contextlib import contextmanager

import psutil

EVERY_S = 0.3
LOOPBACK = ("127.0.0.1", "::1")


@contextmanager
def looking_at_listeners(home):
    """Yields a set that fills with (process title, address) of every listening socket of the cluster of this home."""
    found, over = set(), threading.Event()

    def look():
        while not over.wait(EVERY_S):
            found.update(listeners_of(home))

    thread = threading.Thread(target=look, daemon=True)
    thread.start()
    try:
        yield found
    finally:
        over.set()
        thread.join()


def open_to_others(found):
    """Those that another machine could reach."""
    return {(title, address) for title, address in found if address.removeprefix("::ffff:") not in LOOPBACK}


def listeners_of(home):
    """(process title, address) of every listening socket of the cluster of this home, now."""
    pids = _cluster(home)
    for connection in psutil.net_connections(kind="tcp") if pids else []:
        if connection.status == psutil.CONN_LISTEN and connection.pid in pids:
            try:
                title = " ".join(psutil.Process(connection.pid).cmdline()).strip()
            except psutil.Error:  # it has just ended
                title = "?"
            yield title, connection.laddr.ip


def _cluster(home):
    """The head, all below it, and what has its session: by other means than the code under test."""
    try:
        head = psutil.Process(json.loads((home / "cluster" / "state.json").read_text())["pid"])
        return {head.pid, *(child.pid for child in head.children(recursive=True)), *_of_session(head.pid)}
    except (OSError, ValueError, psutil.Error):  # it does not stand yet
        return set()


def _of_session(leader):
    for pid in psutil.pids():
        try:
            if os.getsid(pid) == leader:
                yield pid
        except OSError:
            continue
