"""``optimize`` on a checkpoint of each supported family, at its real base size."""
