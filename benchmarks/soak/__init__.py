"""Bad requests, then half an hour of mixed load: does the service stay stable? ``make soak``."""
