"""Running a model file: sessions and providers, recipes, tokenization, batching."""

from tutorial_utils.runtime.recipe import Recipe
from tutorial_utils.runtime.session import SessionRecipe, open_session

__all__ = ["Recipe", "SessionRecipe", "open_session"]
