"""One version that answers: admission, batching, workers, supervisor, circuit breaker."""
