"""Everything that makes or changes an ONNX file.

- ``export``: PyTorch to ONNX, and whether two models compute the same function (parity)
- ``storage``: reading and writing a file, with large weights beside it
- ``inspection``: operator counts, sizes, the tensors inside a graph, one layer as a graph to draw
- ``fusion``: turns many small operators into one; the course's step that fuses what pays
- ``relative_attention``, ``rotary``: attention of families whose scores or projections depend on
  positions (DeBERTa-v2 and v3; ModernBERT), called by ``fusion``
- ``rewrites``: the single edits of a graph, and what they are written with
- ``last_layer``: the last layer computed only for the position that the classifier reads
- ``axes``, ``shapes``: what each operator reads for one position, and the sizes that tell
- ``quantization``: INT8 weights and embedding tables, and the recipe that the course recommends
- ``static``: INT8 with calibrated scales (Q/DQ), for providers such as OpenVINO
- ``smoothquant``: outliers moved out of the activations before quantization

One undocumented API of another package is used: the single fusions in
``onnxscript.rewriter.ort_fusions`` (in ``fusion``). ``pyproject.toml`` bounds it by
``onnxscript>=0.7.2,<0.8``. Nothing private of Transformers is used;
lesson 01 shows its new ``transformers.exporters``, bounded by ``transformers>=5.23,<5.24``.
"""
