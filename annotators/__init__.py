"""Annotation of videos: clips, poses, captions and three-level annotations."""
