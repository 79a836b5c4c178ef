"""Inference with a trained model: motions, texts, plans and long motion."""
