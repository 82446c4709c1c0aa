"""The library that functions and batch share; imports point downward only."""
