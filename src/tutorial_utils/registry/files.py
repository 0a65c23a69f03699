"""Names of the files in a version's folder."""

MODEL, TOKENIZER, MANIFEST = "model.onnx", "tokenizer.json", "manifest.json"
PROFILE = "profile.json"  # what normal traffic looks like; a version may have none
WITHDRAWN = "WITHDRAWN"  # takes the version out of use, and says why
