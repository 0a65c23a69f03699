"""Bad requests, then hours of mixed load: does the service last? ``make soak``."""
