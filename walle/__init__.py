"""WallE."""
