"""PyTorch models: the course's own fine-tuned classifier, and classifiers that users bring."""
