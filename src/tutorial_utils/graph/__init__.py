"""Everything that makes or changes an ONNX file: export, fusion, quantization, rewrites."""
