"""A conclusion is shown as Markdown, and as text where Markdown is not rendered."""

from IPython import display

from tutorial_utils.lessons.conclusions import conclude


def test_a_conclusion_is_shown_in_both_forms(monkeypatch):
    shown = []
    monkeypatch.setattr(display, "display", lambda data, raw: shown.append(data))
    conclude("opset 17 takes **1.02 ×** the time.")
    assert shown == [
        {
            "text/markdown": "> **So**: opset 17 takes **1.02 ×** the time.",
            "text/plain": "So: opset 17 takes **1.02 ×** the time.",
        }
    ]
