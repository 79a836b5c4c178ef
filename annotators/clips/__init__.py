"""Video to clips: shots, camera motion and spans."""
