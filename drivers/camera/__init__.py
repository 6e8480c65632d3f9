"""Cameras: file, folder, network stream, test pattern."""
