"""Checkpoints: what is in them, how they reach the disk, and how they are read again."""
