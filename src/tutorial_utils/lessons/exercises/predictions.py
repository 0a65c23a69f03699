"""Show a guess beside what was measured; lessons that keep guesses use ``guesses``."""


def predict(guess: float | None, measured: float, unit: str, digits: int = 1) -> None:
    """Show a learner's guess beside what was measured."""
    told = f"{measured:,.{digits}f} {unit}"
    if guess is None:
        print(f"You: no guess yet. Measured: {told}. Write a guess first next time.")
        return
    if min(guess, measured) > 0:
        ratio = max(guess, measured) / min(guess, measured)
        verdict = "well judged" if ratio < 1.25 else f"off by a factor of {ratio:.1f}"
    else:  # no factor leads to zero
        off = abs(guess - measured)
        verdict = "well judged" if off == 0 else f"off by {off:,.{digits}f}"
    print(f"You: {guess:,.{digits}f} {unit}. Measured: {told}: {verdict}.")
