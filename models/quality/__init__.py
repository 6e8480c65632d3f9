"""What the counts of an inspection prove: escapes and false calls with their confidence, control charts, capability."""
