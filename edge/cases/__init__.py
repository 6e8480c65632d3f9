"""Fault cases: what was seen before, why, and what helped; read, written, and found again."""
