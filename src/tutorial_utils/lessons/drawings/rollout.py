"""Three ways to limit what a bad version can break: canary, shadow and circuit breaker."""

from matplotlib.figure import Figure

from tutorial_utils.lessons.drawings.primitives import (
    DATA,
    HEADING,
    KEPT,
    OTHER,
    PLAIN,
    WORK,
    Canvas,
)

ALT = (
    "Three panels. Canary: of a hundred callers, five get the answers of the new version. Shadow: "
    "the stable version answers all callers, and the new one's answers are only compared. Breaker: "
    "after failures it opens and a fallback answers. Once a cooldown is over, one probe decides "
    "whether it closes."
)
PANELS = (1.95, 5.45, 9.1)  # inches: middles
TOP, LOW = 3.75, 2.3  # inches: heights of the callers and of the versions


def draw() -> Figure:
    canvas = Canvas("Canary, shadow and breaker limit what a bad version can break", 5.4)
    for x, name, effect in zip(
        PANELS,
        ("Canary", "Shadow", "Breaker"),
        ("few callers see it", "no caller sees it", "the fallback answers"),
        strict=True,
    ):
        canvas.text(x, 4.5, name, size=HEADING, bold=True)
        canvas.text(x, 0.4, effect, bold=True)
    for x in (3.7, 7.25):
        canvas.line([(x, 0.3), (x, 4.65)], style=":")
    _canary(canvas, PANELS[0])
    _shadow(canvas, PANELS[1])
    _breaker(canvas, PANELS[2])
    return canvas.fig


def _canary(canvas: Canvas, x: float) -> None:
    callers = canvas.box(x, TOP, 1.5, 0.5, "callers", DATA)
    stable = canvas.box(x - 0.8, LOW, 1.2, 0.5, "stable", WORK)
    new = canvas.box(x + 0.8, LOW, 1.2, 0.5, "new", OTHER)
    for box, side, share, wide in ((stable, -1, "95 %", 6.0), (new, 1, "5 %", 1.5)):
        canvas.arrow((x + 0.35 * side, callers.bottom[1]), box.top, wide=wide, both=True)
        canvas.text(x + 1.05 * side, (TOP + LOW) / 2 + 0.1, share, bold=True)
    canvas.text(x, 1.05, "too many errors:\nrolled back")


def _shadow(canvas: Canvas, x: float) -> None:
    callers = canvas.box(x, TOP, 1.5, 0.5, "callers", DATA)
    stable = canvas.box(x - 0.8, LOW, 1.2, 0.5, "stable", WORK)
    new = canvas.box(x + 0.8, LOW, 1.2, 0.5, "new", OTHER)
    compare = canvas.box(x, 1.05, 1.5, 0.5, "compare", PLAIN)
    canvas.arrow((x - 0.35, callers.bottom[1]), stable.top, wide=6.0, both=True)
    canvas.arrow((x + 0.35, callers.bottom[1]), new.top, wide=1.5, dashed=True)
    canvas.text(x + 1.05, (TOP + LOW) / 2 + 0.1, "copies", bold=True)
    canvas.arrow(stable.bottom, (x - 0.3, compare.top[1]), wide=1.5)
    canvas.arrow(new.bottom, (x + 0.3, compare.top[1]), wide=1.5)


def _breaker(canvas: Canvas, x: float) -> None:
    closed = canvas.box(x - 0.98, TOP, 1.25, 0.75, "closed:\nmodel", WORK)
    opened = canvas.box(x + 0.98, TOP, 1.25, 0.75, "open:\nfallback", KEPT)
    half = canvas.box(x, 1.3, 1.5, 0.75, "half-open:\none probe", PLAIN)
    canvas.arrow(closed.right, opened.left)
    canvas.text(x, TOP + 0.22, "failure")
    canvas.arrow((x + 1.3, opened.bottom[1]), (x + 0.6, half.top[1]))
    canvas.text(x + 1.36, 2.2, "cooldown\nover")
    canvas.arrow((x + 0.2, half.top[1]), (x + 0.8, opened.bottom[1]))
    canvas.text(x + 0.12, 2.7, "failure")
    canvas.arrow((x - 0.45, half.top[1]), closed.bottom)
    canvas.text(x - 1.15, 2.5, "success")
