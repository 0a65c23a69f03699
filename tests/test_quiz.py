"""Quizzes: every question is answerable, and answers are explained only to those who gave them."""

import pytest

from tutorial_utils.core.errors import InvalidArgument
from tutorial_utils.lessons import quiz
from tutorial_utils.lessons.quiz import LETTERS

LESSONS = sorted(path.stem for path in quiz.folder().glob("*.toml"))


def right(lesson: str) -> str:
    """The letters of the right choices."""
    return "".join(
        LETTERS[[choice.right for choice in question.choices].index(True)]
        for question in quiz.read(lesson)
    )


@pytest.mark.parametrize("lesson", LESSONS)
def test_has_five_questions_with_four_choices_of_which_one_is_right(lesson):
    questions = quiz.read(lesson)
    assert len({question.text for question in questions}) == 5
    for question in questions:
        assert len({choice.text for choice in question.choices}) == 4
        assert sum(choice.right for choice in question.choices) == 1
        assert all(len(choice.why) > 30 for choice in question.choices)
    assert len(set(right(lesson))) >= 3  # no letter is a safe bet


@pytest.mark.parametrize("lesson", LESSONS)
def test_the_length_of_a_choice_does_not_give_the_right_one_away(lesson):
    longest = shortest = 0
    for question in quiz.read(lesson):
        lengths = [len(choice.text) for choice in question.choices]
        (of_right,) = (len(choice.text) for choice in question.choices if choice.right)
        longest += of_right == max(lengths)
        shortest += of_right == min(lengths)
    assert longest <= 2
    assert 1 <= shortest <= 2


@pytest.mark.parametrize("lesson", LESSONS)
def test_the_right_letters_score_fully_and_the_next_ones_not_at_all(lesson):
    letters = right(lesson)
    assert quiz.quiz(lesson, letters).right == 5
    shifted = "".join(LETTERS[(LETTERS.index(letter) + 1) % 4] for letter in letters)
    assert quiz.quiz(lesson, shifted).right == 0


@pytest.mark.parametrize("lesson", LESSONS)
def test_an_open_question_explains_nothing(lesson):
    told = str(quiz.quiz(lesson, "-----"))
    for question in quiz.read(lesson):
        assert question.text in told
        assert all(choice.text in told for choice in question.choices)
        assert not any(choice.why in told for choice in question.choices)


def test_an_answered_question_explains_its_own_choice_only():
    first = quiz.read("00")[0]
    told = str(quiz.quiz("00", f"{right('00')[0]} - - - -"))
    assert [choice.why in told for choice in first.choices] == [c.right for c in first.choices]
    assert "1 of 5 right" in told


@pytest.mark.parametrize("answers", ["", "abc", "abcdabc", "aaaae", "a b c d 1"])
def test_answers_that_do_not_fit_are_refused_with_what_is_needed(answers):
    with pytest.raises(InvalidArgument, match="5 letters out of a, b, c, d"):
        quiz.quiz("00", answers)
