"""Staged bundles: a model with exits as data, one ONNX graph per exit stage and a JSON manifest.

`manifest` and `files` read what a bundle says and holds, `graphs` checks its graphs, `reader` joins
them; `sessions` runs a bundle, `export` makes one of a checkpoint. The format stands in
docs/bundles.md, and its schema in `manifest.schema.json`.
"""
