"""Which version answers whom: deployment, canary, shadow, the registry's watcher."""
