"""The scans function."""
