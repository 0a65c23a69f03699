"""Decides which version answers whom: deployment, canary, shadow, registry watcher."""
