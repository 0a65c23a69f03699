"""Fair timing of models, and load tests of services.

- ``timer``: each candidate in a process of its own, timed in turns
- ``intervals``: a ratio of two times with its interval, and the verdict that it allows
- ``candidates``: what can be timed: a model at one shape, or real sentences to labels
- ``roofline``: how fast a model could be on this machine, and where its time goes
- ``load_generator``: requests at a planned rate; latency is measured from the planned moment
"""
