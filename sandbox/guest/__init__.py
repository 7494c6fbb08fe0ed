"""What shares a process with the user's code: the zygotes that programs are forked from, and the code that runs one.

Trusted until the user's code begins; from then on nothing that such a process says is believed, except about itself.
"""
