"""The page that plays with a trained model: what it generates, and the server of the page."""
