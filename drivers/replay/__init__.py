"""Recorded reality: tables and pictures at any speed."""
