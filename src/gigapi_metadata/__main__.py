"""`python -m gigapi_metadata`: the command line."""

import sys

from gigapi_metadata.cli import main

if __name__ == "__main__":
    sys.exit(main())
