"""Verification: which candidate solutions are right, decided by running them."""
