"""Trained models in use: predict, export to ONNX, describe the cost, replay a trial."""
