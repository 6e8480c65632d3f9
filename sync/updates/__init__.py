"""Signed updates: what both ends and the person who signs share."""
