"""Trained models in use: classify images, run an exported model, measure what a model costs."""
