"""How a command ends when it does not simply succeed. The message is one line for a person."""

from __future__ import annotations

import re

DONE, FAILED, WRONG_USAGE, NOTHING_FOUND, INTERRUPTED = 0, 1, 2, 3, 130
"""The exit codes. Scripts rely on them: they never change their meaning."""


class Failed(Exception):
    """The command could not do what it was asked for."""


class WrongUsage(Exception):
    """What was asked for makes no sense."""


class NothingFound(Exception):
    """The command did its work, and there is nothing."""


def one_line(message: str) -> str:
    """`message` fit to be shown: without line ends, and with the passwords in its URLs hidden."""
    from gigapi_metadata.urls import hide

    text = " ".join(message.splitlines())
    # Word by word: to search for a URL would take long in a long word that holds none. One that was
    # mistyped is still known by the @ behind its password.
    return re.sub(r"\S+", lambda word: hide(word[0]), text)
