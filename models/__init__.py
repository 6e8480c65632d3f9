"""Model packages, inference engines, and the stages that use them."""
