"""The service under overload, and compared with other servers: ``make load``."""
