"""From the rate of one core to machines and cost, and what Ray's proxy takes: ``make scale``."""
