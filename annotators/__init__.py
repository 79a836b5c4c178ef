"""From video to text and pose: clips, poses, captions and three-level annotations."""
