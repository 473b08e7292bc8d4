"""Torch networks as graphs: loaded without running what is in the file, converted from ONNX, cut into blocks."""
