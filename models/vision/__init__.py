"""Stages that judge pictures."""
