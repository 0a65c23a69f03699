"""Which models a registry holds, and what to say if someone asks for one that is not there."""

from pathlib import Path

from tutorial_utils.registry import store
from tutorial_utils.registry.files import MANIFEST
from tutorial_utils.registry.manifest import BadModel


def models(registry: Path) -> list[str]:
    """Names of the models with a complete version, withdrawn or not, in alphabetical order."""
    numbers = (path.parent for path in Path(registry).glob(f"*/*/{MANIFEST}"))
    found = {n.parent.name for n in numbers if store.NUMBER.fullmatch(n.name)}
    return sorted(filter(store.NAME.fullmatch, found))


def only_model(registry: Path) -> str:
    """The name of the only model of a registry.

    Raises:
        BadModel: there is none, or there are several; the message lists them.
    """
    names = models(registry)
    if len(names) > 1:
        raise BadModel(
            f"The registry {str(registry)!r} holds several models: {', '.join(names)}. Name one "
            "with --model."
        )
    if not names:
        raise nothing_in(registry)
    return names[0]


def nothing_of(registry: Path, name: str) -> BadModel:
    """The error for a model without any version; it says what the registry holds instead."""
    others = models(registry)
    if not others:
        return nothing_in(registry)
    return BadModel(
        f"The registry {str(registry)!r} holds no version of {name!r}, only models named "
        f"{others}. Write one with `optimize` or `publish`, or check --registry and --model."
    )


def nothing_in(registry: Path) -> BadModel:
    """The error for a folder without models; it suggests one nearby that has some."""
    folder = Path(registry)
    what = "holds no models" if folder.is_dir() else "does not exist"
    parent = folder.parent  # the folder of a model or a version may be given, or of `optimize`
    near = (folder / "registry", parent / "registry", parent, parent.parent)
    if other := next((each for each in near if models(each)), None):
        fix = f"{str(other)!r} holds {', '.join(models(other))}: use --registry {other}"
    else:
        fix = "Write a model with `optimize` or `publish`, or check --registry"
    return BadModel(f"The registry {str(folder)!r} {what}. {fix}.")
