"""Export a classifier with optimum-intel, and quantize it. Runs in optimum-intel's environment.

``python optimum_export.py FOLDER SAMPLES TARGET``: a folder with the PyTorch model, a .npz file
with calibration samples, the folder to write. Nothing else of the project can be imported here.
"""

import sys

import numpy as np


def main(folder: str, samples: str, target: str) -> None:
    # Text models do not need torchvision, and pip may choose a build that does not fit torch.
    sys.modules["torchvision"] = None  # type: ignore[assignment]

    import nncf
    from optimum.intel import (
        OVConfig,
        OVModelForSequenceClassification,
        OVQuantizationConfig,
        OVQuantizer,
    )

    stored = np.load(samples)
    names = {key.split("/")[0]: None for key in stored}
    count = len(stored.files) // len(names)
    data = [{name: stored[f"{name}/{i}"] for name in names} for i in range(count)]
    model = OVModelForSequenceClassification.from_pretrained(
        folder, export=True, compile=False, load_in_8bit=False
    )
    how = OVConfig(quantization_config=OVQuantizationConfig(num_samples=count))
    quantizer = OVQuantizer.from_pretrained(model)
    quantizer.quantize(nncf.Dataset(data), save_directory=target, ov_config=how)


if __name__ == "__main__":
    main(*sys.argv[1:])
