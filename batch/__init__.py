"""Command-line work for researchers."""
