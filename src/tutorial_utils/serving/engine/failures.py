"""The ways in which a request can fail."""

from tutorial_utils.core.errors import TutorialError


class Overloaded(TutorialError, RuntimeError):
    """Too many texts are waiting; try again after ``retry_after`` seconds."""

    def __init__(self, retry_after: int = 1):
        super().__init__(f"too many texts are waiting; try again in {retry_after} s")
        self.retry_after = retry_after


class WrongKind(TutorialError, ValueError):
    """A pair for a model that reads single texts, or the other way round."""


class NoAnswer(TutorialError, RuntimeError):
    """A request was admitted, but the version did not answer it."""


class DeadlineExceeded(NoAnswer):
    """The answer did not come in time."""


class InferenceFailed(NoAnswer):
    """The model raised; the cause is in the log, not in the message."""


class Unavailable(InferenceFailed):
    """No model can answer now: all breakers are open, or the engine was closed."""

    retry_after = 1
