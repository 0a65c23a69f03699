"""Running a model file: sessions, recipes, tokenization, batching, inference, memory."""

from tutorial_utils.runtime.recipe import Recipe
from tutorial_utils.runtime.session import SessionRecipe, open_session

__all__ = ["Recipe", "SessionRecipe", "open_session"]
