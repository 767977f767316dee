"""Trained models in use: classification of images, exported models, and the cost of a model."""
