"""The model behind HTTP. Needs onnxruntime, tokenizers and the web stack; no torch, no steps."""
