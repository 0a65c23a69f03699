"""The model behind HTTP. Needs onnxruntime, tokenizers and the web stack; no torch, no steps.

Private parts of others' packages that are used here, each bounded in ``pyproject.toml``:
uvicorn: ``Server.on_tick``, ``handle_exit``, ``shutdown``, ``servers`` and ``server_state``
(``server``); ``HttpToolsProtocol`` with its ``cycle``, ``parser``, ``on_…`` methods and
``STATUS_LINE`` (``connection``). FastAPI: ``build_middleware_stack`` (``app``). Starlette:
``Request.receive`` as the source of disconnects (``callers``). pydantic-settings: the ``_cli_…``
arguments of ``BaseSettings`` are public in spite of their names (``settings``).
"""
