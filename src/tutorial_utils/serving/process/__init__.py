"""The server process: signals, listener, connections."""
