"""Plays an inventory, unchanged, on throw-away hosts that have its names and addresses."""
