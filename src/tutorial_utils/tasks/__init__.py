"""What a model answers, by task. A new task is a file here and an entry in ``TASKS``."""

from tutorial_utils.core.errors import InvalidArgument
from tutorial_utils.tasks.embedding import Embedding
from tutorial_utils.tasks.multi_label import MultiLabel
from tutorial_utils.tasks.regression import Regression
from tutorial_utils.tasks.score import Score
from tutorial_utils.tasks.single_label import SingleLabel
from tutorial_utils.tasks.task import Close, Task, Truth

TASKS: dict[str, Task] = {
    task.name: task for task in (SingleLabel(), MultiLabel(), Regression(), Score(), Embedding())
}


def named(name: str) -> Task:
    """The task of that name.

    Raises:
        ValueError: there is none.
    """
    if name not in TASKS:
        raise InvalidArgument(f"There is no task {name!r}; choose one of {', '.join(TASKS)}.")
    return TASKS[name]
