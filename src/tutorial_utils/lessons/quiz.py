"""The quiz at the end of a lesson: choose an answer, and read why it is right or wrong.

The questions of a lesson are in ``notebooks/quizzes``, one TOML file each.
"""

import itertools
import tomllib
from dataclasses import dataclass
from pathlib import Path

from tutorial_utils.core import paths
from tutorial_utils.core.errors import InvalidArgument

LETTERS = "abcd"
OPEN = "-"  # in place of a letter: a question that is not answered yet


@dataclass(frozen=True)
class Choice:
    """A possible answer, and why it is right or what is mistaken in it."""

    text: str
    why: str
    right: bool = False


@dataclass(frozen=True)
class Question:
    """A question with four choices, one of which is right."""

    text: str
    choices: tuple[Choice, ...]


@dataclass(frozen=True)
class Quiz:
    """Questions with a learner's answers, as text and as Markdown. answers: a letter for each."""

    questions: tuple[Question, ...]
    answers: str

    @property
    def right(self) -> int:
        """How many answers are right."""
        return sum(bool(choice and choice.right) for choice in self._chosen())

    def __str__(self) -> str:
        asked = zip(itertools.count(1), self.questions, self._chosen(), strict=False)
        return "\n\n".join([*itertools.starmap(_told, asked), self._score()])

    __repr__ = __str__

    def _repr_markdown_(self) -> str:
        return str(self).replace("\n  ", "\n- ")

    def _chosen(self) -> list[Choice | None]:
        """The choice that was made for each question."""
        return [
            None if letter == OPEN else question.choices[LETTERS.index(letter)]
            for question, letter in zip(self.questions, self.answers, strict=True)
        ]

    def _score(self) -> str:
        if set(self.answers) == {OPEN}:
            return f"Put your {len(self.answers)} letters in place of the dashes."
        return f"**{self.right} of {len(self.answers)} right.**"


def quiz(lesson: str, answers: str) -> Quiz:
    """The quiz of a lesson; answers that are given get an explanation.

    lesson: its two digits. answers: a letter for each question, ``-`` for one that is still open.

    Raises:
        InvalidArgument: not as many answers as questions, or one that is none of the letters.
    """
    questions = read(lesson)
    given = "".join(answers.split()).lower()
    if len(given) != len(questions) or set(given) - {*LETTERS, OPEN}:
        raise InvalidArgument(
            f"Answer with {len(questions)} letters out of {', '.join(LETTERS)}, and {OPEN} for a "
            f"question that you leave open; given was {answers!r}."
        )
    return Quiz(questions, given)


def read(lesson: str) -> tuple[Question, ...]:
    """The questions of a lesson."""
    file = folder() / f"{lesson}.toml"
    with file.open("rb") as opened:
        listed = tomllib.load(opened)["question"]
    return tuple(Question(q["text"], tuple(Choice(**c) for c in q["choice"])) for q in listed)


def folder() -> Path:
    """Where the questions are."""
    return paths.repository() / "notebooks" / "quizzes"


def _told(number: int, question: Question, chosen: Choice | None) -> str:
    """A question with its choices; if one was chosen, with that one and why."""
    head = f"**{number}.** {question.text}"
    if chosen is None:
        choices = zip(LETTERS, question.choices, strict=True)
        return "\n".join([head, "", *(f"  {letter}) {choice.text}" for letter, choice in choices)])
    verdict = "Right" if chosen.right else "Not quite"
    return f"{head}\n\n  {chosen.text} **{verdict}**: {chosen.why}"
