"""The evaluation of a trained model: its tables beside baselines, its galleries, its page."""
