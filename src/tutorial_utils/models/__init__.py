"""PyTorch models: the series' own fine-tuned classifier, and classifiers that users bring."""
