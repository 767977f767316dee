"""The use of trained models: predict, export to ONNX, describe the cost, replay a trial."""
