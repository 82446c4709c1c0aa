"""Training of the exact-evidence network: config → dataset → synthetic → augment → network → loop → export.

The only place that knows torch; what the service loads is the exported ONNX file beside its JSON.
"""
