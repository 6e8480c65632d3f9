"""Settings of a process: a safe optimiser that proposes the next ones, and what foretells quality from them."""
