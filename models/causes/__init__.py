"""What goes with bad parts: process tags, lots, recipes, shifts and hours, ranked, with what chance alone would bring."""
