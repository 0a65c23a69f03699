"""BERT-base on a GPU: ONNX Runtime's CUDA provider beside PyTorch and ``torch.compile``.

Build the graphs where this repository is installed: ``python -m benchmarks.gpu.graphs FOLDER``.
They come without weights, 1.6 MB in all. On the machine with the GPU nothing needs installing: with
PyTorch, transformers, onnx, scipy, tabulate, psutil and py-cpuinfo there, and a folder that holds
ONNX Runtime's unpacked GPU wheel, run ``PYTHONPATH=WHEEL:src python -m benchmarks.gpu FOLDER OUT``.
The weights are drawn from a seed there, the same ones for PyTorch and for ONNX Runtime.
"""
