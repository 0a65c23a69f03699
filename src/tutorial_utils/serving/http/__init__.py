"""What callers see: routes, schemas, the Open Inference Protocol, errors, middleware."""
