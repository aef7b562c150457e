"""What a command tells its user: a line for each step with its seconds, or a failure that names the thing and the fix."""

import fcntl
import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path


class Failure(Exception):
    """Shown to the user as it is; `code` becomes the exit code."""

    def __init__(self, message: str, code: int = 1) -> None:
        super().__init__(message)
        self.code = code


@contextmanager
def step(name: str, outcome: str) -> Iterator[None]:
    began = time.monotonic()
    yield
    say(name, f"{outcome}  {time.monotonic() - began:.1f} s")


def say(name: str, outcome: str) -> None:
    print(f"{name:<14}{outcome}", flush=True)


@contextmanager
def locked(path: Path, otherwise: str) -> Iterator[int]:
    """Fails with `otherwise` when another process has the lock. Yields its descriptor: a child that inherits it holds the lock,
    too, until it ends."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as held:
            raise Failure(otherwise) from held
        yield file.fileno()


def wait_until(what: str, check: Callable[[], bool], seconds: float, log: Path | None = None) -> None:
    """Asks `check` until it says yes. It raises Failure itself when it knows that waiting is in vain."""
    deadline = time.monotonic() + seconds
    while not check():
        if time.monotonic() > deadline:
            raise Failure(f"{what}: not within {seconds:.0f} s{tail(log)}")
        time.sleep(0.1)


def tail(log: Path | None, lines: int = 25) -> str:
    if log is None or not log.exists():
        return ""
    last = log.read_text(errors="replace").splitlines()[-lines:]
    return f"\nlast lines of {log}:\n" + "\n".join(f"  {line}" for line in last)


def write_private(path: Path, text: str) -> None:
    """At once or not at all, and for this user's eyes only."""
    draft = path.with_name(f".{path.name}.new")
    draft.touch(mode=0o600)
    draft.write_text(text)
    draft.replace(path)


def run_main(main: Callable[[], int]) -> None:
    """Runs a command's `main` and turns what it raises into a message and an exit code."""
    # Data and logs hold signed bodies, whose download URLs are secrets for a day.
    os.umask(0o077)
    try:
        code = main()
    except Failure as failure:
        print(f"error: {failure}", file=sys.stderr)
        code = failure.code
    except KeyboardInterrupt:
        code = 130
    sys.exit(code)
