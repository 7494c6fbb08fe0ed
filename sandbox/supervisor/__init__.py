"""The privileged processes: a launcher, and one supervisor a slot, which makes jails, keeps time and ends processes.

Trusted, and must survive whatever a program does: what a program controls is read as bytes, bounded, without waiting.
"""
