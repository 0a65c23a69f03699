"""Candidates of the runtime search for start-up and for memory allocation."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnxruntime as ort

from tutorial_utils.data import reviews
from tutorial_utils.runtime import batching
from tutorial_utils.runtime.session import SessionRecipe, open_session

ALLOCATORS = {  # settings of the arena: how it grows
    "arena of its own": {},
    "no arena": {},
    "arena grows by what is asked for": {"arena_extend_strategy": 1},
    "arena grows to powers of two": {"arena_extend_strategy": 0},
    "arena gives back after each run": {},
}
GIVING_BACK, NO_ARENA = "arena gives back after each run", "no arena"


@dataclass(frozen=True)
class StartUp:
    """Open a session on a file in ONNX or ORT format; one item is one session."""

    path: Path
    recipe: SessionRecipe = SessionRecipe()
    items: int = 1

    def build(self) -> Callable[[], object]:
        return lambda: open_session(self.path, self.recipe)


@dataclass(frozen=True)
class Allocating:
    """Real sentences to logits, in batches of ``budget`` tokens, with one of ``ALLOCATORS``.

    An arena with settings is registered with the process, which can have only one, and sessions
    ask to share it. So it is made here, in the candidate's own process.
    """

    path: Path
    recipe: SessionRecipe
    allocator: str
    budget: int = 4096
    items: int = 500

    def build(self) -> Callable[[], np.ndarray]:
        options = self.recipe.options()
        options.enable_cpu_mem_arena = self.allocator != NO_ARENA
        if settings := ALLOCATORS[self.allocator]:
            place = ort.OrtMemoryInfo(
                "Cpu", ort.OrtAllocatorType.ORT_ARENA_ALLOCATOR, 0, ort.OrtMemType.DEFAULT
            )
            ort.create_and_register_allocator(place, ort.OrtArenaCfg(settings))
            options.add_session_config_entry("session.use_env_allocators", "1")
        run = ort.RunOptions()
        if self.allocator == GIVING_BACK:
            run.add_run_config_entry("memory.enable_memory_arena_shrinkage", "cpu:0")
        session = ort.InferenceSession(
            str(self.path),
            options,
            providers=["CPUExecutionProvider"],
            disabled_optimizers=list(self.recipe.disabled_optimizers),
        )
        names = [value.name for value in session.get_inputs()]
        rows = reviews.encode(reviews.splits().test.texts[: self.items])
        batches = batching.by_tokens([len(row) for row in rows], self.budget)

        def predict(inputs: dict[str, np.ndarray]) -> np.ndarray:
            return session.run(["logits"], {name: inputs[name] for name in names}, run)[0]

        return lambda: batching.run(predict, rows, batches)
