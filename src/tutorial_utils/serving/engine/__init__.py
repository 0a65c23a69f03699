"""One running version: admission, batching, workers, supervisor, circuit breaker."""
