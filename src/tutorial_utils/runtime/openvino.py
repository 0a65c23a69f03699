"""OpenVINO as an execution provider: the plugin's devices, and what the provider is opened with.

Two packages have it. ``onnxruntime-ep-openvino`` is a plugin for any build of ONNX Runtime. It asks
for Intel's vendor number, so it offers no device on AMD's processors, where OpenVINO itself runs.
``onnxruntime-openvino`` is a build of its own, of an older version, which asks for no vendor.
"""

import functools
import json

import onnxruntime as ort

SETTINGS = "load_config"  # both take JSON under this name: device → OpenVINO's own properties

# Asked before the plugin is registered, which adds itself to these.
BUILT_IN = "OpenVINOExecutionProvider" in ort.get_available_providers()


def precision(name: str) -> dict[str, str]:
    """Provider options to compute in ``name`` (as ``bf16``) what the file has in fp32."""
    return {SETTINGS: json.dumps({"CPU": {"INFERENCE_PRECISION_HINT": name}})}


def options(given: dict[str, str], threads: int) -> dict[str, str]:
    """Provider options with a number of threads: OpenVINO does not read the session's."""
    settings = json.loads(given.get(SETTINGS, "{}"))
    settings["CPU"] = {"INFERENCE_NUM_THREADS": str(threads)} | settings.get("CPU", {})
    device = {"device_type": "CPU"} if BUILT_IN else {}
    return device | given | {SETTINGS: json.dumps(settings)}


def problem() -> str | None:
    """Why OpenVINO's provider cannot be used here, or None."""
    if BUILT_IN or devices():
        return None
    there = "offers no device for this processor" if plugin() else "is missing"
    return f"its plugin (onnxruntime-ep-openvino) {there}"


def devices() -> list:
    """The plugin's CPU device; [] without the plugin, or where it offers none."""
    name = plugin()
    found = [device for device in ort.get_ep_devices() if device.ep_name == name]
    return [device for device in found if device.ep_metadata.get("ov_device") == "CPU"]


@functools.cache
def plugin() -> str | None:
    """Name of the plugin's provider, registered once; a second time would be an error."""
    try:
        import onnxruntime_ep_openvino
    except ImportError:
        return None
    name = onnxruntime_ep_openvino.get_ep_name()
    ort.register_execution_provider_library(name, onnxruntime_ep_openvino.get_library_path())
    return name
