"""BERT-base on a GPU: ONNX Runtime's CUDA provider beside PyTorch and ``torch.compile``.

``graphs`` builds the ONNX graphs where the package is installed and leaves the weights out, so that
the files are small. ``python -m benchmarks.gpu`` measures them on a machine with a GPU, which needs
no more than PyTorch, transformers, onnx, scipy, psutil and ONNX Runtime's GPU build: the weights
are drawn from a seed there, the same for PyTorch and for ONNX Runtime.
"""
