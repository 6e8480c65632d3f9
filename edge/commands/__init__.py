"""The sub-commands of the runtime itself."""
