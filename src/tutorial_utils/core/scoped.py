"""Global settings of libraries, changed inside a context and put back afterwards."""

import csv
import logging
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import TypeVar

T = TypeVar("T")


@contextmanager
def _changed(change: Callable[[T], object], before: T, now: T) -> Iterator[None]:
    change(now)
    try:
        yield
    finally:
        change(before)


def log_level(name: str, level: int) -> AbstractContextManager[None]:
    """The logger ``name`` at another level; ``root`` is the root logger."""
    logger = logging.getLogger(name)
    return _changed(logger.setLevel, logger.level, level)


def csv_fields_of_any_length() -> AbstractContextManager[None]:
    """``csv`` reads fields longer than its limit of 131,072 characters."""
    # The largest limit that every system takes.
    return _changed(csv.field_size_limit, csv.field_size_limit(), 2**31 - 1)


@contextmanager
def quiet_transformers() -> Iterator[None]:
    """Transformers shows no progress bar and logs errors only."""
    from transformers.utils import logging as library

    bar = library.is_progress_bar_enabled()
    with _changed(library.set_verbosity, library.get_verbosity(), library.ERROR):
        library.disable_progress_bar()
        try:
            yield
        finally:
            if bar:
                library.enable_progress_bar()


def torch_threads(count: int) -> AbstractContextManager[None]:
    """PyTorch computes with ``count`` threads. Costs one or two microseconds."""
    import torch

    return _changed(torch.set_num_threads, torch.get_num_threads(), count)


@contextmanager
def torch_seed(seed: int) -> Iterator[None]:
    """PyTorch draws random numbers from ``seed`` on; afterwards it continues as before."""
    import torch

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        yield
