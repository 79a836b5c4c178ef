"""A trained model in use: motions, texts, plans and long motion."""
