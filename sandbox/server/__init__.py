"""The HTTP service: routes, documents, who may ask, metrics, the process around them.

Runs as the server's process, beside the engine's event loop. Whatever a client sends is bounded before it is believed.
"""
