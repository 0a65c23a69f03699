"""Charts in one style: direct labels, and colours that colour-blind readers can distinguish.

Each kind of chart is a function that returns a Matplotlib figure; ``show`` puts it into a notebook
with its alt text. ``style`` has what all of them share.
"""

from tutorial_utils.plots.charts import bars, histogram, lines
from tutorial_utils.plots.fronts import front
from tutorial_utils.plots.style import (
    BLUE,
    GREEN,
    GREY,
    ORANGE,
    PALETTE,
    PINK,
    STYLE,
    figure,
    label,
    plain_log_ticks,
    show,
    styled,
)
from tutorial_utils.plots.timelines import mark_events, timeline
