"""Conclusions in words that are made from the numbers of the run: true on every machine."""


def conclude(text: str) -> None:
    """Show a conclusion, in Markdown. Its cell needs the tag nbval-ignore-output if it varies."""
    from IPython.display import display

    display({"text/markdown": f"> **So**: {text}", "text/plain": f"So: {text}"}, raw=True)
