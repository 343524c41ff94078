"""What the Makefile calls: compute notebooks, publish them, and build the book, ``python -m book.tools --help``."""
