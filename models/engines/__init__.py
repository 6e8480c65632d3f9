"""Inference engines behind one small contract; each interpreter is imported in its own shim only."""
