"""The root of all errors that this package raises on purpose, and errors of no particular package.

Such an error says what is wrong and how to fix it. Where callers rely on ``ValueError`` or
``RuntimeError``, its class derives from that as well.
"""

from typing import ClassVar


class TutorialError(Exception):
    """Something that the user or the operator of the machine can fix.

    exit_code: what a command ends with, see ``cli``.
    """

    exit_code: ClassVar[int] = 2


class InvalidArgument(TutorialError, ValueError):
    """A function was given a value that it cannot work with."""
