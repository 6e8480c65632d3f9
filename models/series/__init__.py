"""Stages that judge series of values."""
