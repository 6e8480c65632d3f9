"""Fault cases: what was seen before, why, and what helped; found again by words and by what an anomaly looks like."""
