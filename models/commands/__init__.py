"""The sub-commands of models."""
