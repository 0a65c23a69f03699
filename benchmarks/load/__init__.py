"""The service under more load than it can take, and beside other servers: ``make load``."""
