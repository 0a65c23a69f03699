"""A request's way through the service: what runs where, and where it can be refused."""

from matplotlib.figure import Figure

from tutorial_utils.lessons.drawings.primitives import (
    DATA,
    KEPT,
    REFUSED,
    WORK,
    Canvas,
)

ALT = (
    "A request on its way through four lanes: from the client to the event loop, which reads, "
    "checks and admits it, then into the queue, then to the worker thread with tokenizer and "
    "model, and back. Five dashed exits lead to errors: 429, 422, 429, 504 and 503."
)
CLIENT, LOOP, QUEUE, WORKER = 4.2, 2.85, 1.72, 0.68  # inches: middles of the lanes
LANES = {"client": (CLIENT, 0.86), "event loop": (LOOP, 0.86), "queue": (QUEUE, 0.62)}
LANES["worker\nthread"] = WORKER, 0.86
REFUSALS = {  # place of each in the lane of the client → what the client gets, and whence
    3.4: ("429\nfull", LOOP),
    4.5: ("422\ninvalid", LOOP),
    5.9: ("429\nfull", LOOP),
    7.25: ("504\ntoo late", QUEUE - 0.1),
    8.6: ("503\nno model", WORKER),
}


def draw() -> Figure:
    canvas = Canvas("The earlier a request is refused, the less it costs", 5.4)
    for name, (y, height) in LANES.items():
        canvas.lane(y - height / 2, height, name)
    request = canvas.box(2.25, CLIENT, 0.98, 0.56, "request", DATA)
    head = canvas.box(2.6, LOOP, 1.6, 0.56, "connection")
    check = canvas.box(4.4, LOOP, 1.2, 0.56, "check")
    admit = canvas.box(5.9, LOOP, 1.2, 0.56, "admit")
    reply = canvas.box(9.95, LOOP, 1.2, 0.56, "reply")
    waiting = [canvas.bar(x, QUEUE - 0.17, 0.3, 0.34, paint=DATA) for x in (5.75, 6.2, 6.65, 7.1)]
    tokens = canvas.box(7.25, WORKER, 1.3, 0.56, "tokenizer")
    model = canvas.box(8.75, WORKER, 1.1, 0.56, "model", WORK)
    answer = canvas.box(9.95, CLIENT, 1.2, 0.6, "200\nanswer", KEPT)
    canvas.arrow(request.bottom, (2.25, head.top[1]))
    canvas.arrow(head.right, check.left)
    canvas.arrow(check.right, admit.left)
    canvas.arrow(admit.bottom, waiting[0].top)
    canvas.arrow(waiting[-1].bottom, tokens.top)
    canvas.arrow(tokens.right, model.left)
    canvas.arrow((9.3, WORKER), reply.bottom)
    canvas.arrow(reply.top, answer.bottom)
    for x, (text, whence) in REFUSALS.items():
        exit_ = canvas.box(x, CLIENT, 1.0, 0.6, text, REFUSED)
        start = min(x, head.right[0] - 0.2) if x < check.left[0] else x
        ends = (start, whence + 0.28), (start, exit_.bottom[1])
        canvas.arrow(*ends, color=REFUSED.edge, dashed=True)
    return canvas.fig
