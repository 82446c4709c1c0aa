"""The HTTP functions, one small Flask app each."""
