"""The environment that the engine's processes start with, and so its programs: these variables, none of the caller's.

Each gives all machines the same: where commands and files are, language, clock, hashes. A secret of the caller's cannot
be read by a program because it never arrives.
"""

from __future__ import annotations

ENVIRONMENT = {
    "PATH": "/usr/local/bin:/usr/bin:/bin",
    "HOME": "/box/work",
    "USER": "sandbox",
    "LOGNAME": "sandbox",
    "LANG": "C.UTF-8",
    "TZ": "UTC",
    "PYTHONHASHSEED": "0",
    "PYTHONDONTWRITEBYTECODE": "1",
    # Numbers of more than 4,300 digits are printed: a program has a time limit, whatever it takes its time for.
    "PYTHONINTMAXSTRDIGITS": "0",
    "MPLBACKEND": "Agg",
    "MPLCONFIGDIR": "/box/tmp",
    # One thread each: two libraries that start as many as there are cores make everything slower, and no thread may
    # exist when a zygote forks.
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
    "NUMEXPR_NUM_THREADS": "1",
    # gmpy2 is for programs that import it. So the four libraries it brings are in no other program's memory, and
    # sympy and mpmath give the same where it is not installed.
    "SYMPY_GROUND_TYPES": "python",
    "MPMATH_NOGMPY": "1",
    # Its default of 1,000 answers a function would forget most of the warm-up's, of which one function needs 4,500.
    "SYMPY_CACHE_SIZE": "10000",
}
