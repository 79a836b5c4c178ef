"""Evaluation of trained models: metrics, reports and model versions."""
