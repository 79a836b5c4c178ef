"""Metrics, reports and versions of trained models."""
