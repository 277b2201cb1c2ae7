"""`python -m keras_sda.cli` is `keras-sda`."""

import sys

from keras_sda.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
