"""Instruments that speak their own words over a serial line, or over TCP."""
