"""Pictures of clips, poses and motions."""
