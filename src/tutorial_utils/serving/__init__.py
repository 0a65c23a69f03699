"""The model behind HTTP. Needs ONNX Runtime, tokenizers and the web stack, but not PyTorch.

We use only these private parts of other packages, and limit their versions in
``pyproject.toml``. uvicorn: ``Server.on_tick``, ``handle_exit``, ``shutdown``, ``servers`` and
``server_state`` with its type (in ``process.server``); ``HttpToolsProtocol`` with its attributes
and methods, and ``RequestResponseCycle`` (in ``process.connection``).
The ``_cli_…`` arguments of pydantic-settings' ``BaseSettings`` are public in spite of their names.
"""
