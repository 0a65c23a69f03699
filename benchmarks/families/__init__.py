"""Each supported family at its real base size: ``optimize`` on it, and other tools beside it."""
