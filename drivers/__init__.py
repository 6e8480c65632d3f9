"""One folder per protocol. Each imports `edge`'s public names and no other driver."""
