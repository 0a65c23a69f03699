"""From the throughput of one core to machines and cost; the cost of Ray's proxy: ``make scale``."""
